// The tables of refork.db and the way from any older version of them to today's.
//
// failures holds what a worker or reforkd reported, ends how each process ended. They stay apart until they
// are read: an amended record replaces its failure without touching the end, and a failure that arrives after
// its worker's end finds it all the same. meta holds single numbers by name.
#include "store/schema.h"

#include <array>

namespace refork::store {
namespace {

constexpr auto version_1 = std::to_array<const char*>({
    "CREATE TABLE @.failures ("
    " id TEXT PRIMARY KEY, revision INTEGER NOT NULL, time_ms INTEGER NOT NULL, service TEXT NOT NULL,"
    " slot INTEGER NOT NULL, worker INTEGER NOT NULL, kind TEXT NOT NULL, fingerprint TEXT NOT NULL,"
    " count INTEGER NOT NULL, record TEXT NOT NULL)",
    "CREATE INDEX @.failures_by_time ON failures (time_ms, id)",
    "CREATE INDEX @.failures_by_worker ON failures (worker)",
    "CREATE TABLE @.ends ("
    " worker INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, service TEXT NOT NULL, slot INTEGER NOT NULL,"
    " pid INTEGER NOT NULL, generation INTEGER NOT NULL, lived_ms INTEGER NOT NULL, requested TEXT NOT NULL,"
    " outcome TEXT NOT NULL, cause TEXT NOT NULL, code INTEGER, signal INTEGER, core INTEGER NOT NULL,"
    " served INTEGER NOT NULL, completed INTEGER NOT NULL, crossed INTEGER NOT NULL, cut INTEGER NOT NULL,"
    " drain TEXT NOT NULL, exit TEXT NOT NULL)",
    "CREATE INDEX @.ends_by_time ON ends (time_ms, worker)",
    "CREATE TABLE @.meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
});

// Everything that counting identical failures looks at, so that it never reads their records.
constexpr auto version_2 = std::to_array<const char*>({
    "CREATE INDEX @.failures_by_fingerprint ON failures"
    " (fingerprint, service, kind, time_ms, count, id, revision)",
});

constexpr auto all = std::to_array<Migration>({version_1, version_2});

std::string in_schema(std::string sql, const std::string& schema) {
  for (std::size_t at = 0; (at = sql.find('@', at)) != std::string::npos; at += schema.size())
    sql.replace(at, 1, schema);
  return sql;
}

bool apply(Connection& connection, const std::string& schema, std::span<const Migration> steps,
           std::size_t from) {
  for (const Migration& step : steps.subspan(from))
    for (const char* sql : step)
      if (!connection.run(in_schema(sql, schema))) return false;
  return connection.run("PRAGMA " + schema + ".user_version = " + std::to_string(steps.size()));
}

}  // namespace

std::span<const Migration> migrations() { return all; }

Migrated migrate(Connection& connection, const std::string& schema, std::span<const Migration> steps) {
  std::int64_t version = 0;
  if (!connection.each("PRAGMA " + schema + ".user_version", [&](const Row& row) {
        version = row.integer(0);
        return true;
      }))
    return Migrated::failed;
  if (version < 0 || version > static_cast<std::int64_t>(steps.size())) return Migrated::newer;
  if (version == static_cast<std::int64_t>(steps.size())) return Migrated::yes;
  if (connection.run("BEGIN IMMEDIATE") &&
      apply(connection, schema, steps, static_cast<std::size_t>(version)) && connection.run("COMMIT"))
    return Migrated::yes;
  connection.run("ROLLBACK");  // the first error is what is told, not this one's
  return Migrated::failed;
}

}  // namespace refork::store
