#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace refork::store {

// One row of an answer; valid only inside the callback that gets it.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) noexcept : statement_(statement) {}
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string text(int column) const;

 private:
  sqlite3_stmt* statement_;
};

// One SQLite connection, used by one thread at a time. Everything answers whether it worked; the first error
// since the last forgive() is kept, so that a chain of steps joined by && is asked once, at its end, what
// went wrong.
class Connection {
 public:
  static constexpr int busy_timeout_ms = 1000;

  Connection();  // in memory; files are attached to it

  template <class... Args>
  bool run(const std::string& sql, const Args&... args) {
    return each(
        sql, [](const Row&) { return true; }, args...);
  }

  // `visit(const Row&)` answers whether it wants the next one.
  template <class Visit, class... Args>
  bool each(const std::string& sql, Visit visit, const Args&... args) {
    const Statement statement = prepare(sql);
    if (!statement) return false;
    int index = 0;
    (bind(statement.get(), ++index, args), ...);
    while (step(statement.get()))
      if (!visit(Row(statement.get()))) return true;
    return !error_;
  }

  std::uint64_t changes() const;
  bool attached_file_was_moved() const;  // renamed or removed under us, or replaced by another

  struct Failed {
    int code;  // the primary result code
    std::string words;
  };
  void forgive() { error_.reset(); }
  std::optional<Failed> failed() const { return error_; }
  void fail(std::optional<Failed> failed) { error_ = std::move(failed); }

  void keep_wal_when_closed(bool keep);  // leaves the files as they are
  void interrupt();                      // from any thread

 private:
  struct Close {
    void operator()(sqlite3* connection) const noexcept { sqlite3_close_v2(connection); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  Statement prepare(const std::string& sql);
  bool step(sqlite3_stmt* statement);  // true: there is a row
  void note_error(int code);
  static void bind(sqlite3_stmt* statement, int index, std::uint64_t value);
  static void bind(sqlite3_stmt* statement, int index, const std::optional<int>& value);
  static void bind(sqlite3_stmt* statement, int index, std::string_view value);

  std::unique_ptr<sqlite3, Close> connection_;
  std::optional<Failed> error_;
};

}  // namespace refork::store
