// The versions of refork.db, and files that another version or another hand has written.
#include <gmock/gmock.h>

#include <array>
#include <fstream>
#include <iterator>

#include "store/file.h"
#include "store/schema.h"
#include "unit/store_support.h"

namespace refork::store::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto first = std::to_array<const char*>({"CREATE TABLE @.t (a)", "INSERT INTO @.t VALUES (1)"});
constexpr auto second =
    std::to_array<const char*>({"ALTER TABLE @.t ADD COLUMN b", "UPDATE @.t SET b = a + 1"});
constexpr auto broken = std::to_array<const char*>({"ALTER TABLE @.t ADD COLUMN c", "UPDATE @.t SET d = 1"});

std::int64_t number(Connection& connection, const std::string& sql) {
  std::int64_t value = -1;
  connection.each(sql, [&](const Row& row) {
    value = row.integer(0);
    return false;
  });
  return value;
}

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void execute(const std::string& path, const std::string& sql) {
  sqlite3* connection = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &connection), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(connection, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(connection);
  sqlite3_close(connection);
}

TEST(StoreSchema, AnEmptyDatabaseGoesThroughAllMigrations) {
  Connection connection;
  const auto steps = std::to_array<Migration>({first, second});
  EXPECT_EQ(migrate(connection, "main", steps), Migrated::yes);
  EXPECT_EQ(number(connection, "PRAGMA user_version"), 2);
  EXPECT_EQ(number(connection, "SELECT b FROM t"), 2);
}

TEST(StoreSchema, AnOlderDatabaseGoesThroughTheMissingMigrationsOnly) {
  Connection connection;
  const auto before = std::to_array<Migration>({first});
  const auto now = std::to_array<Migration>({first, second});
  ASSERT_EQ(migrate(connection, "main", before), Migrated::yes);
  EXPECT_EQ(migrate(connection, "main", now), Migrated::yes);
  EXPECT_EQ(number(connection, "PRAGMA user_version"), 2);
  EXPECT_EQ(number(connection, "SELECT count(*) FROM t"), 1);
}

TEST(StoreSchema, AMigrationThatFailsLeavesTheDatabaseAsItWas) {
  Connection connection;
  const auto before = std::to_array<Migration>({first});
  const auto now = std::to_array<Migration>({first, broken});
  ASSERT_EQ(migrate(connection, "main", before), Migrated::yes);
  EXPECT_EQ(migrate(connection, "main", now), Migrated::failed);
  ASSERT_TRUE(connection.failed().has_value());
  EXPECT_THAT(connection.failed()->words, HasSubstr("d"));
  connection.forgive();
  EXPECT_EQ(number(connection, "PRAGMA user_version"), 1);
  EXPECT_EQ(number(connection, "SELECT count(*) FROM pragma_table_info('t')"), 1);
}

TEST(StoreSchema, ANewerDatabaseIsNotTouched) {
  Connection connection;
  const auto newer = std::to_array<Migration>({first, second});
  const auto known = std::to_array<Migration>({first});
  ASSERT_EQ(migrate(connection, "main", newer), Migrated::yes);
  EXPECT_EQ(migrate(connection, "main", known), Migrated::newer);
  EXPECT_EQ(number(connection, "PRAGMA user_version"), 2);
}

TEST(StoreSchema, AFileWithoutTablesIsMigratedWhenTheStoreOpensIt) {
  const TempDir dir;
  fs::create_directory(dir.state());
  execute(dir.database(), "PRAGMA user_version = 0; CREATE TABLE other (a); INSERT INTO other VALUES (1)");
  {
    Loop loop(dir.state());
    ASSERT_TRUE(loop.add(failure("a1")));
    EXPECT_EQ(loop->status().state, "ok");
  }
  execute(dir.database(), "SELECT count(*) FROM other, failures, ends, meta");
  EXPECT_EQ(*prepare_file(dir.database()), migrations().size());
}

TEST(StoreSchema, AReleasedFileGetsTheIndexByFingerprintAndKeepsItsRows) {
  Connection connection;
  ASSERT_EQ(migrate(connection, "main", migrations().first(1)), Migrated::yes);
  ASSERT_TRUE(connection.run("INSERT INTO failures VALUES ('a',1,1,'web',0,1,'boot','00ff',1,'{}')"));
  ASSERT_EQ(migrate(connection, "main", migrations()), Migrated::yes);
  EXPECT_EQ(number(connection, "SELECT count(*) FROM failures INDEXED BY failures_by_fingerprint"), 1);
}

TEST(StoreSchema, AFileOfANewerVersionIsRefusedWithWordsAndNotTouched) {
  const TempDir dir;
  fs::create_directory(dir.state());
  execute(dir.database(),
          "PRAGMA user_version = " + std::to_string(migrations().size() + 1) + "; CREATE TABLE t (a)");
  const std::string before = content(dir.database());
  {
    Loop loop(dir.state());
    EXPECT_EQ(loop->status().state, "degraded");
    EXPECT_THAT(loop->status().why, HasSubstr("newer"));
    loop->add(failure("a1"), nullptr);
    EXPECT_THAT(loop.ids(), ElementsAre("a1"));
  }
  EXPECT_EQ(content(dir.database()), before);
  EXPECT_FALSE(fs::exists(dir.database() + "-wal"));
}

// Its version stands only in the log: the daemon that wrote it was killed.
TEST(StoreSchema, AFileWhoseLogMakesItNewerIsRefusedAndNotTouchedEither) {
  const TempDir dir;
  fs::create_directory(dir.state());
  {
    sqlite3* writer = nullptr;
    ASSERT_EQ(sqlite3_open(dir.database().c_str(), &writer), SQLITE_OK);
    const std::string sql =
        "PRAGMA journal_mode = WAL; CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE);"
        "PRAGMA user_version = " +
        std::to_string(migrations().size() + 1);
    ASSERT_EQ(sqlite3_exec(writer, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_db_config(writer, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_close(writer);
  }
  ASSERT_EQ(*prepare_file(dir.database()), 0u);
  const std::string before = content(dir.database()), log = content(dir.database() + "-wal");
  {
    Loop loop(dir.state());
    EXPECT_EQ(loop->status().state, "degraded");
    EXPECT_THAT(loop->status().why, HasSubstr("newer"));
  }
  EXPECT_EQ(content(dir.database()), before);
  EXPECT_EQ(content(dir.database() + "-wal"), log);
}

}  // namespace
}  // namespace refork::store::testing
