// SQLite's C interface as a few calls that read as what they do. It knows nothing of failures or ends, keeps
// no prepared statements (a few dozen a minute are nothing, and each would hold memory) and never throws.
#include "store/sqlite.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace refork::store {

std::string Row::text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  return std::string(reinterpret_cast<const char*>(text),
                     static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

Connection::Connection() {
  // NOFOLLOW holds for what is attached later as well. FULLMUTEX would buy nothing: one thread at a time uses
  // this.
  constexpr int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
  sqlite3* connection = nullptr;
  const int code = sqlite3_open_v2(":memory:", &connection, flags, nullptr);
  connection_.reset(connection);
  if (code != SQLITE_OK) {
    note_error(code);
    return;
  }
  sqlite3_extended_result_codes(connection, 1);
  sqlite3_busy_timeout(connection, busy_timeout_ms);
  sqlite3_db_config(connection, SQLITE_DBCONFIG_LOOKASIDE, nullptr, 0, 0);
}

Connection::Statement Connection::prepare(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(connection_.get(), sql.c_str(), static_cast<int>(sql.size()) + 1,
                                      &statement, nullptr);
  if (code != SQLITE_OK) note_error(code);
  return Statement(statement);
}

bool Connection::step(sqlite3_stmt* statement) {
  const int code = sqlite3_step(statement);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) note_error(code);
  return false;
}

void Connection::note_error(int code) {
  if (error_) return;
  std::string words = connection_ ? sqlite3_errmsg(connection_.get()) : sqlite3_errstr(code);
  const int primary = code & 0xff;
  const int cause = connection_ ? sqlite3_system_errno(connection_.get()) : 0;
  if ((primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN) && cause != 0)
    words += std::string(" (") + std::strerror(cause) + ")";
  error_ = Failed{primary, std::move(words)};
}

void Connection::bind(sqlite3_stmt* statement, int index, std::uint64_t value) {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  sqlite3_bind_int64(statement, index, static_cast<std::int64_t>(std::min(value, most)));
}

void Connection::bind(sqlite3_stmt* statement, int index, const std::optional<int>& value) {
  if (value) sqlite3_bind_int(statement, index, *value);  // else it stays NULL
}

void Connection::bind(sqlite3_stmt* statement, int index, std::string_view value) {
  // Never null, even for an empty text, and borrowed: what is bound outlives the statement.
  sqlite3_bind_text(statement, index, value.empty() ? "" : value.data(), static_cast<int>(value.size()),
                    SQLITE_STATIC);
}

std::uint64_t Connection::changes() const {
  return static_cast<std::uint64_t>(sqlite3_changes64(connection_.get()));
}

bool Connection::attached_file_was_moved() const {
  int moved = 0;
  return sqlite3_file_control(connection_.get(), "disk", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
         moved != 0;
}

void Connection::keep_wal_when_closed(bool keep) {
  sqlite3_db_config(connection_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep ? 1 : 0, nullptr);
}

void Connection::interrupt() { sqlite3_interrupt(connection_.get()); }

}  // namespace refork::store
