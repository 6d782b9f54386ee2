// Every SQL statement that touches failures and ends. What `reforkctl failures --json` shows is composed
// here, on reading: the worker's record as it came, the drain and exit of its worker's end, and null for what
// does not apply.
#include "store/tables.h"

#include <algorithm>

#include "store/schema.h"

namespace refork::store {
namespace {

// Small, because the daemon is: pages of 4 KiB, a log that is copied back after a quarter of SQLite's usual
// size. EXCLUSIVE: no other process reads or writes the file while we do, so that a forgotten shell with an
// open transaction holds up nothing, a second daemon cannot give out the same worker ids, and the log's index
// is plain memory instead of a mapped file, whose truncation would be a SIGBUS. It must be set before the
// file is attached.
constexpr const char* before_attach = "PRAGMA locking_mode = EXCLUSIVE";

// FULL: one fsync a batch, on a thread that has the time. With NORMAL the rows survive the daemon's death,
// but not a power loss, and the failures before a machine went down are those that somebody will ask for.
constexpr const char* after_attach[] = {
    "PRAGMA disk.journal_mode = WAL",
    "PRAGMA disk.synchronous = FULL",
    "PRAGMA disk.cache_size = -256",
    "PRAGMA disk.wal_autocheckpoint = 256",
    "PRAGMA disk.journal_size_limit = 1048576",
};

// A row in both places counts once: the one in memory only if it amends the one on disk.
constexpr const char* newest_of_both = R"sql(
  WITH newest AS (
    SELECT * FROM (
      SELECT * FROM main.failures f
      WHERE (?1 = '' OR service = ?1) AND (?2 = '' OR kind = ?2) AND time_ms >= ?3 AND (?5 = '' OR id = ?5)
        AND NOT EXISTS (SELECT 1 FROM disk.failures o WHERE o.id = f.id AND o.revision >= f.revision)
      ORDER BY time_ms DESC, id DESC LIMIT ?4)
    UNION ALL
    SELECT * FROM (
      SELECT * FROM disk.failures f
      WHERE (?1 = '' OR service = ?1) AND (?2 = '' OR kind = ?2) AND time_ms >= ?3 AND (?5 = '' OR id = ?5)
        AND NOT EXISTS (SELECT 1 FROM main.failures o WHERE o.id = f.id AND o.revision > f.revision)
      ORDER BY time_ms DESC, id DESC LIMIT ?4)
    ORDER BY time_ms DESC, id DESC LIMIT ?4)
)sql";

// json_insert() adds only what is missing: a record that is no JSON object still shows what its columns say.
constexpr const char* composed = R"sql(
  SELECT json_insert(
    json_set(
      CASE WHEN json_valid(record) THEN CASE json_type(record) WHEN 'object' THEN record ELSE '{}' END
      ELSE '{}' END,
      '$.drain', json(CASE WHEN json_valid(drain) THEN drain END),
      '$.exit', json(CASE WHEN json_valid(exit) THEN exit END), '$.count', count),
    '$.id', id, '$.time', strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch'), '$.time_ms', time_ms,
    '$.service', service, '$.slot', slot, '$.worker', worker, '$.pid', NULL, '$.kind', kind, '$.type', NULL,
    '$.message', NULL, '$.causes', NULL, '$.domain', NULL, '$.domains', NULL, '$.thrown', NULL,
    '$.emitter', NULL, '$.bound', NULL, '$.rethrown', NULL, '$.request', NULL, '$.context', NULL,
    '$.stack', NULL, '$.threads', NULL, '$.fault', NULL, '$.fingerprint', fingerprint,
    '$.in_flight_at_failure', NULL, '$.output_tail', NULL)
  FROM (
    SELECT n.*, coalesce(d.drain, w.drain) AS drain, coalesce(d.exit, w.exit) AS exit
    FROM newest n LEFT JOIN disk.ends d ON d.worker = n.worker LEFT JOIN main.ends w ON w.worker = n.worker)
  ORDER BY time_ms DESC, id DESC
)sql";

// What is the same failure, counted. Only the index is read for it (all of a group's members are in it); the
// record of the newest of each group comes afterwards, and only for the groups that are shown. `newest` is
// the time in a fixed number of digits, then the id: the greatest is the latest. A worker may claim any
// count: no sum may overflow.
constexpr const char* most_frequent = R"sql(
  WITH grouped AS (
    SELECT fingerprint, sum(min(max(count, 1), 1000000000)) AS count, count(*) AS records,
      min(time_ms) AS first_ms, max(time_ms) AS last_ms, json_group_array(DISTINCT service) AS services,
      substr(max(printf('%020d', time_ms) || id), 21) AS newest
    FROM (
      SELECT id, time_ms, service, fingerprint, count FROM main.failures f
      WHERE (?1 = '' OR service = ?1) AND (?2 = '' OR kind = ?2) AND time_ms >= ?3
        AND NOT EXISTS (SELECT 1 FROM disk.failures o WHERE o.id = f.id AND o.revision >= f.revision)
      UNION ALL
      SELECT id, time_ms, service, fingerprint, count FROM disk.failures f
      WHERE (?1 = '' OR service = ?1) AND (?2 = '' OR kind = ?2) AND time_ms >= ?3
        AND NOT EXISTS (SELECT 1 FROM main.failures o WHERE o.id = f.id AND o.revision > f.revision))
    GROUP BY fingerprint ORDER BY count DESC, last_ms DESC, fingerprint LIMIT ?4),
  shown AS (
    SELECT g.*, (
      SELECT CASE WHEN json_valid(record) THEN record ELSE '{}' END FROM (
        SELECT revision, record FROM main.failures WHERE id = g.newest UNION ALL
        SELECT revision, record FROM disk.failures WHERE id = g.newest)
      ORDER BY revision DESC LIMIT 1) AS record
    FROM grouped g)
  SELECT json_object(
    'fingerprint', fingerprint, 'count', count, 'records', records,
    'first', strftime('%Y-%m-%dT%H:%M:%fZ', first_ms / 1000.0, 'unixepoch'), 'first_ms', first_ms,
    'last', strftime('%Y-%m-%dT%H:%M:%fZ', last_ms / 1000.0, 'unixepoch'), 'last_ms', last_ms,
    'services', json((SELECT json_group_array(value) FROM (
      SELECT value FROM json_each(services) ORDER BY value))),
    'kind', json_extract(record, '$.kind'), 'type', json_extract(record, '$.type'),
    'message', json_extract(record, '$.message'),
    'where', json((
      SELECT value FROM json_each(record, '$.stack') WHERE type = 'object'
      ORDER BY coalesce(json_extract(value, '$.in_app'), 0) DESC, key LIMIT 1)),
    'id', newest)
  FROM shown ORDER BY count DESC, last_ms DESC, fingerprint
)sql";

// An amendment never stands for fewer failures than what it amends.
constexpr const char* amend = R"sql(
  ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, time_ms = excluded.time_ms, service = excluded.service, slot = excluded.slot,
    worker = excluded.worker, kind = excluded.kind, fingerprint = excluded.fingerprint,
    count = max(count, excluded.count), record = excluded.record
  WHERE excluded.revision > revision AND excluded.service = service AND excluded.worker = worker
)sql";

constexpr std::uint64_t ms_per_hour = 3'600'000;

// The first column of each row, up to the limit of an answer.
template <class... Args>
bool read_texts(Connection& connection, const std::string& sql, std::vector<std::string>& texts,
                const Args&... args) {
  std::size_t bytes = 0;
  return connection.each(
      sql,
      [&](const Row& row) {
        std::string text = row.text(0);
        bytes += text.size();
        if (bytes > Tables::max_list_bytes) return false;
        texts.push_back(std::move(text));
        return true;
      },
      args...);
}

}  // namespace

Tables::Tables() {
  connection_.run(before_attach);
  connection_.run("PRAGMA temp_store = MEMORY");
  connection_.run("PRAGMA main.auto_vacuum = FULL");  // gives back what waited once it is written
  migrate(connection_, "main", migrations());
  detach();
}

void Tables::detach() {
  connection_.run("DETACH disk");  // nothing is attached at first
  connection_.forgive();
  connection_.run("ATTACH ':memory:' AS disk");
  migrate(connection_, "disk", migrations());
}

Tables::Attach Tables::attach(const std::string& path) {
  connection_.run("DETACH disk");
  connection_.forgive();
  bool done = connection_.run("ATTACH ?1 AS disk", path);
  const Migrated migrated = done ? migrate(connection_, "disk", migrations()) : Migrated::failed;
  if (migrated == Migrated::newer) {
    connection_.keep_wal_when_closed(true);
    detach();
    connection_.keep_wal_when_closed(false);
    return Attach::newer;
  }
  done = migrated == Migrated::yes;
  for (const char* sql : after_attach) done = done && connection_.run(sql);
  if (done) return Attach::ok;
  const auto failed = connection_.failed();
  detach();
  connection_.fail(failed);
  return Attach::failed;
}

bool Tables::keep(const core::FailureRow& row) {
  return connection_.run(std::string("INSERT INTO main.failures VALUES (?,?,?,?,?,?,?,?,?,?)") + amend,
                         row.id, std::uint64_t{row.revision}, row.time_ms, row.service,
                         std::uint64_t{row.slot}, row.worker, row.kind, row.fingerprint, row.count,
                         row.record);
}

bool Tables::keep(const core::EndRow& row) {
  const std::uint64_t pid = row.pid > 0 ? static_cast<std::uint64_t>(row.pid) : 0;
  return connection_.run(
      "INSERT INTO main.ends VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (worker) DO NOTHING",
      row.worker, row.time_ms, row.service, std::uint64_t{row.slot}, pid, std::uint64_t{row.generation},
      row.lived_ms, row.requested, row.outcome, row.cause, row.code, row.signal,
      std::uint64_t{row.core ? 1u : 0u}, row.served, row.completed, row.crossed, row.cut, row.drain,
      row.exit);
}

bool Tables::forget_failure(const std::string& id) {
  return connection_.run("DELETE FROM main.failures WHERE id = ?", id);
}

bool Tables::forget_end(std::uint64_t worker) {
  return connection_.run("DELETE FROM main.ends WHERE worker = ?", worker);
}

bool Tables::holds_failure(const std::string& id) {
  bool found = false;
  connection_.each(
      "SELECT 1 FROM main.failures WHERE id = ?", [&](const Row&) { return found = true; }, id);
  return found;
}

bool Tables::write_out(std::uint64_t reserved_ids) {
  if (connection_.run("BEGIN IMMEDIATE") &&
      connection_.run(std::string("INSERT INTO disk.failures SELECT * FROM main.failures WHERE true") +
                      amend) &&
      connection_.run(
          "INSERT INTO disk.ends SELECT * FROM main.ends WHERE true ON CONFLICT (worker) DO NOTHING") &&
      connection_.run("INSERT INTO disk.meta VALUES ('last_worker_id', ?) "
                      "ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
                      reserved_ids) &&
      connection_.run("DELETE FROM main.failures") && connection_.run("DELETE FROM main.ends") &&
      connection_.run("COMMIT"))
    return true;
  connection_.run("ROLLBACK");
  return false;
}

bool Tables::prune(const core::StoreConfig& config, std::uint64_t now_ms) {
  const auto hours = static_cast<std::uint64_t>(std::max<std::int64_t>(0, config.max_age.count()));
  const std::uint64_t age = std::min(hours, now_ms / ms_per_hour) * ms_per_hour;
  const std::uint64_t oldest = now_ms - age;
  const bool done =
      connection_.run("BEGIN IMMEDIATE") &&
      connection_.run("DELETE FROM disk.failures WHERE time_ms < ?", oldest) &&
      connection_.run(
          "DELETE FROM disk.failures WHERE id IN "
          "(SELECT id FROM disk.failures ORDER BY time_ms DESC, id DESC LIMIT -1 OFFSET ?)",
          config.max_failures) &&
      connection_.run(
          "DELETE FROM disk.ends WHERE worker NOT IN (SELECT worker FROM disk.failures) AND (time_ms < ?1 "
          "OR worker IN (SELECT worker FROM disk.ends ORDER BY time_ms DESC, worker DESC "
          "LIMIT -1 OFFSET ?2))",
          oldest, config.max_failures) &&
      connection_.run("COMMIT");
  if (!done) connection_.run("ROLLBACK");
  return done;
}

bool Tables::last_worker_id(std::uint64_t& id) {
  return connection_.each(
      "SELECT max(coalesce((SELECT value FROM disk.meta WHERE name = 'last_worker_id'), 0),"
      " coalesce((SELECT max(worker) FROM disk.ends), 0), coalesce((SELECT max(worker) FROM disk.failures), "
      "0))",
      [&](const Row& row) {
        id = static_cast<std::uint64_t>(std::max<std::int64_t>(0, row.integer(0)));
        return true;
      });
}

bool Tables::list(const core::FailureFilter& filter, std::vector<std::string>& records) {
  return read_texts(connection_, std::string(newest_of_both) + composed, records, filter.service, filter.kind,
                    filter.since_ms.value_or(0), std::uint64_t{filter.limit}, "");
}

bool Tables::top(const core::FailureFilter& filter, std::vector<std::string>& groups) {
  return read_texts(connection_, most_frequent, groups, filter.service, filter.kind,
                    filter.since_ms.value_or(0), std::uint64_t{filter.limit});
}

bool Tables::record(const std::string& id, std::string& json) {
  return connection_.each(
      std::string(newest_of_both) + composed,
      [&](const Row& row) {
        json = row.text(0);
        return false;
      },
      "", "", std::uint64_t{0}, std::uint64_t{1}, id);
}

bool Tables::matching(const std::string& prefix, std::vector<std::string>& ids) {
  const bool done = connection_.each(
      "SELECT id FROM main.failures WHERE substr(id, 1, length(?1)) = ?1 UNION "
      "SELECT id FROM disk.failures WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT ?2",
      [&](const Row& row) {
        ids.push_back(row.text(0));
        return true;
      },
      prefix, std::uint64_t{max_candidates + 1});
  // Ids sort by bytes, so one equal to the prefix comes first.
  if (!ids.empty() && ids.front() == prefix) ids.resize(1);
  return done;
}

bool Tables::clear(const std::string& service, std::uint64_t& removed) {
  const bool done =
      connection_.run("BEGIN IMMEDIATE") &&
      connection_.each(
          "SELECT count(*) FROM (SELECT id FROM main.failures WHERE ?1 = '' OR service = ?1 UNION "
          "SELECT id FROM disk.failures WHERE ?1 = '' OR service = ?1)",
          [&](const Row& row) {
            removed = static_cast<std::uint64_t>(row.integer(0));
            return true;
          },
          service) &&
      connection_.run("DELETE FROM main.failures WHERE ?1 = '' OR service = ?1", service) &&
      connection_.run("DELETE FROM disk.failures WHERE ?1 = '' OR service = ?1", service) &&
      connection_.run("COMMIT");
  if (!done) connection_.run("ROLLBACK");
  return done;
}

bool Tables::clear_waiting(const std::string& service, std::uint64_t& removed) {
  const bool done = connection_.run("DELETE FROM main.failures WHERE ?1 = '' OR service = ?1", service);
  removed = done ? connection_.changes() : 0;
  return done;
}

}  // namespace refork::store
