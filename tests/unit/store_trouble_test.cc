// A disk that is full, read-only, corrupt, missing or not ours, and what the store still does with it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <fstream>

#include "base/unique_fd.h"
#include "store/file.h"
#include "unit/store_support.h"

namespace refork::store::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::vector<std::string> set_aside_in(const std::string& state) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(state))
    if (entry.path().filename().string().find(".corrupt-") != std::string::npos)
      names.push_back(entry.path());
  return names;
}

// A file system of its own, in a mount namespace of its own; needs the right to mount.
class Tmpfs {
 public:
  explicit Tmpfs(const std::string& path, const std::string& options) : path_(path) {
    fs::create_directory(path);
    mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
               ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", path.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~Tmpfs() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  Tmpfs(const Tmpfs&) = delete;
  Tmpfs& operator=(const Tmpfs&) = delete;
  explicit operator bool() const { return mounted_; }
  bool remount(unsigned long flags, const char* options) {
    return ::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | flags, options) == 0;
  }

 private:
  std::string path_;
  bool mounted_ = false;
};

#define MOUNT_OR_SKIP(tmpfs, options) \
  Tmpfs tmpfs(dir_.state(), options); \
  if (!tmpfs)                         \
  GTEST_SKIP() << "a file system cannot be mounted here; the tests with a file size limit say the rest"

// No file of this process can grow beyond a size: works for everybody, and fails as a full disk does.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

core::FailureRow big(const std::string& id) {
  core::FailureRow row = failure(id);
  row.record = Json{{"id", id}, {"message", std::string(16000, 'x')}}.dump();
  return row;
}

class StoreTrouble : public ::testing::Test {
 protected:
  TempDir dir_;

  // Adds rows, telling nobody to wait, until the store says that it cannot write them.
  static void fill(Loop& loop, const std::string& prefix, int most = 200) {
    for (int i = 0; i < most && loop->status().state == "ok"; ++i) {
      loop->add(big(prefix + std::to_string(i)), nullptr);
      loop.list();
    }
  }
  static bool until_ok(Loop& loop) {
    return loop.until([&] { return loop->status().state == "ok" && loop->status().waiting == 0; });
  }
};

TEST_F(StoreTrouble, AFullDiskIsSaidAndWhatWaitsIsShownAndWrittenOnceThereIsRoom) {
  MOUNT_OR_SKIP(disk, "mode=0700,size=512k");
  {
    Loop loop(dir_.state());
    ASSERT_TRUE(loop.add(failure("first")));
    fill(loop, "fill");
    ASSERT_EQ(loop->status().state, "degraded");
    EXPECT_THAT(loop->status().why, HasSubstr("full"));
    EXPECT_GE(loop->status().waiting, 1u);
    bool stored = false;
    loop->add(failure("last", 5), [&] { stored = true; });
    loop->end(end_of(5), nullptr);
    EXPECT_THAT(loop.ids(), AllOf(Contains("first"), Contains("last")));
    EXPECT_EQ(loop.list({"", "", {}, 1}).at(0).at("drain").at("outcome"), "clean");
    EXPECT_FALSE(stored);

    ASSERT_TRUE(disk.remount(0, "size=8m"));
    ASSERT_TRUE(until_ok(loop));
    EXPECT_TRUE(loop.until([&] { return stored; }));
    EXPECT_TRUE(loop->status().why.empty());
    EXPECT_EQ(loop->status().dropped, 0u);
    EXPECT_THAT(loop.states(), ElementsAre("degraded", "ok"));
  }
  Loop again(dir_.state());
  EXPECT_THAT(again.ids(), AllOf(Contains("first"), Contains("last")));
}

TEST_F(StoreTrouble, AFileThatCannotBeWrittenIsSaidAndWrittenOnceItCan) {
  Loop loop(dir_.state());
  ASSERT_TRUE(loop.add(failure("first")));
  bool stored = false;
  {
    const FileSizeLimit limit(1);
    loop->add(failure("last"), [&] { stored = true; });
    EXPECT_THAT(loop.ids(), ElementsAre("last", "first"));
    EXPECT_EQ(loop->status().state, "degraded");
    EXPECT_THAT(loop->status().why, HasSubstr(dir_.database()));
    EXPECT_FALSE(stored);
  }
  ASSERT_TRUE(until_ok(loop));
  EXPECT_TRUE(loop.until([&] { return stored; }));
  EXPECT_THAT(loop.ids(), ElementsAre("last", "first"));
}

TEST_F(StoreTrouble, AReadOnlyFileIsSaidAndWrittenOnceItIsWritable) {
  MOUNT_OR_SKIP(disk, "mode=0700,size=8m");
  {
    Loop before(dir_.state());
    ASSERT_TRUE(before.add(failure("first")));
  }
  const std::string path = dir_.database();
  const char* file = path.c_str();
  ASSERT_EQ(::mount(file, file, nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::mount(nullptr, file, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "degraded");
  EXPECT_THAT(loop->status().why, HasSubstr(dir_.database()));
  loop->add(failure("second"), nullptr);
  EXPECT_THAT(loop.ids(), Contains("second"));
  ASSERT_EQ(::umount2(file, MNT_DETACH), 0);
  ASSERT_TRUE(until_ok(loop));
  EXPECT_THAT(loop.ids(), ElementsAre("second", "first"));
}

TEST_F(StoreTrouble, AStoreThatOpensOnAReadOnlyFileSystemGoesOnInMemoryAndWritesLater) {
  MOUNT_OR_SKIP(disk, "mode=0700,size=8m");
  {
    Loop before(dir_.state());
    ASSERT_TRUE(before.add(failure("first", 7)));
  }
  ASSERT_TRUE(disk.remount(MS_RDONLY, nullptr));
  const auto seconds = static_cast<std::uint64_t>(::time(nullptr));
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "degraded");
  EXPECT_GE(loop->last_worker_id(), seconds);  // what is reserved now will not be known after a restart
  loop->add(failure("second"), nullptr);
  EXPECT_THAT(loop.ids(), Contains("second"));
  ASSERT_TRUE(disk.remount(0, nullptr));
  ASSERT_TRUE(until_ok(loop));
  EXPECT_THAT(loop.ids(), ElementsAre("second", "first"));
}

TEST_F(StoreTrouble, AStateDirectoryThatIsAFileGivesADegradedStoreThatWorksInMemory) {
  write_file(dir_.state(), "not a directory");
  const auto seconds = static_cast<std::uint64_t>(::time(nullptr));
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "degraded");
  EXPECT_THAT(loop->status().why, HasSubstr(dir_.state()));
  EXPECT_GE(loop->last_worker_id(), seconds);
  EXPECT_LE(loop->last_worker_id(), seconds + 3600);

  bool stored = false;
  loop->add(failure("a1", 7), [&] { stored = true; });
  loop->end(end_of(7), nullptr);
  loop->add(failure("a2"), nullptr);
  EXPECT_THAT(loop.ids(), ElementsAre("a2", "a1"));
  EXPECT_EQ(Json::parse(*loop.show("a1")).at("drain").at("outcome"), "clean");
  EXPECT_FALSE(stored);
  EXPECT_EQ(loop->status().waiting, 3u);
  EXPECT_EQ(*loop.clear(), 2u);
  EXPECT_TRUE(stored);  // what an operator has removed need not be kept any longer by anybody
  EXPECT_THAT(loop.ids(), IsEmpty());
  EXPECT_EQ(loop->status().waiting, 1u);
}

TEST_F(StoreTrouble, AMissingParentDirectoryIsUsedAsSoonAsItIsThere) {
  const std::string parent = dir_.path() + "/missing";
  Loop loop(parent + "/state");
  EXPECT_EQ(loop->status().state, "degraded");
  loop->add(failure("a1"), nullptr);
  fs::create_directory(parent);
  ASSERT_TRUE(until_ok(loop));
  EXPECT_TRUE(fs::exists(parent + "/state/refork.db"));
  EXPECT_THAT(loop.ids(), ElementsAre("a1"));
}

TEST_F(StoreTrouble, ADegradedStoreIsLookedAtAgainWhenItIsAsked) {
  write_file(dir_.state(), "");
  Loop loop(dir_.state());
  loop.list();
  fs::remove(dir_.state());
  EXPECT_TRUE(loop.until([&] { return loop.list(), loop->status().state == "ok"; }));
}

TEST_F(StoreTrouble, AResendWhileItWaitsIsOneRowAndBothAreTold) {
  write_file(dir_.state(), "");
  Loop loop(dir_.state());
  core::FailureRow row = failure("a1");
  int stored = 0;
  loop->add(row, [&] { ++stored; });
  row.revision = 2;
  row.record = R"({"id":"a1","message":"amended"})";
  loop->add(row, [&] { ++stored; });
  ASSERT_EQ(loop.list().size(), 1u);
  EXPECT_EQ(loop.list().at(0).at("message"), "amended");
  fs::remove(dir_.state());
  ASSERT_TRUE(loop.until([&] { return stored == 2; }));
  EXPECT_EQ(loop.list().size(), 1u);
}

TEST_F(StoreTrouble, AnAmendmentThatWaitsIsShownInsteadOfTheStoredRecord) {
  Loop loop(dir_.state());
  core::FailureRow row = failure("a1");
  ASSERT_TRUE(loop.add(row));
  {
    const FileSizeLimit limit(1);
    row.revision = 2;
    row.record = R"({"id":"a1","message":"amended"})";
    loop->add(row, nullptr);
    row.revision = 1;
    row.record = R"({"id":"a1","message":"late"})";
    loop->add(row, nullptr);
    const auto records = loop.list();
    EXPECT_EQ(loop->status().state, "degraded");
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].at("message"), "amended");
  }
  ASSERT_TRUE(until_ok(loop));
  EXPECT_EQ(loop.list().at(0).at("message"), "amended");
}

TEST_F(StoreTrouble, WhatCannotBeClearedOnDiskIsSaid) {
  Loop loop(dir_.state());
  ASSERT_TRUE(loop.add(failure("a1")));
  const FileSizeLimit limit(1);
  loop->add(failure("a2"), nullptr);
  const auto cleared = loop.clear();
  ASSERT_FALSE(cleared.ok());
  EXPECT_THAT(cleared.error().what, HasSubstr("only 1 that waited in memory"));
  EXPECT_THAT(loop.ids(), ElementsAre("a1"));
}

TEST_F(StoreTrouble, UpToTheLimitOfWaitingRowsNothingIsDroppedAndBeyondItTheOldest) {
  write_file(dir_.state(), "");
  Loop loop(dir_.state());
  bool oldest_stored = false;
  loop->add(failure("oldest"), [&] { oldest_stored = true; });
  for (std::size_t i = 1; i < Store::max_waiting; ++i) {
    loop->add(failure("a" + std::to_string(i)), nullptr);
    if (i % 1000 == 0) loop.list({"", "", {}, 1});  // the queue has a limit of its own
  }
  EXPECT_TRUE(loop.show("oldest").ok());
  EXPECT_EQ(loop->status().waiting, Store::max_waiting);
  EXPECT_EQ(loop->status().dropped, 0u);
  loop->add(failure("newest"), nullptr);
  EXPECT_FALSE(loop.show("oldest").ok());
  EXPECT_TRUE(loop.show("newest").ok());
  EXPECT_EQ(loop->status().waiting, Store::max_waiting);
  EXPECT_EQ(loop->status().dropped, 1u);
  fs::remove(dir_.state());
  ASSERT_TRUE(until_ok(loop));
  EXPECT_FALSE(oldest_stored);
  EXPECT_EQ(loop.ids({"", "", {}, 10000}).size(), Store::max_waiting);
}

TEST_F(StoreTrouble, WhateverIsAddedFasterThanItIsWrittenIsStoredOrCountedAsDropped) {
  Loop loop(dir_.state());
  constexpr std::uint64_t many = 3 * Store::max_waiting;
  std::uint64_t stored = 0;
  for (std::uint64_t i = 0; i < many; ++i) loop->add(failure("a" + std::to_string(i)), [&] { ++stored; });
  ASSERT_TRUE(loop.until([&] { return stored + loop->status().dropped == many; }));
  EXPECT_GE(stored, Store::max_waiting);
}

TEST_F(StoreTrouble, QuestionsBeyondTheLimitAreRefusedAtOnceAndThoseBelowAreAnswered) {
  Loop loop(dir_.state());
  std::size_t good = 0, busy = 0;
  const std::size_t many = 40 * Writer::max_questions;
  for (std::size_t i = 0; i < many; ++i)
    loop->list({}, [&](const auto& result) {
      if (result.ok())
        ++good;
      else if (result.error().code == EBUSY)
        ++busy;
    });
  ASSERT_TRUE(loop.until([&] { return good + busy == many; }));
  EXPECT_GE(good, Writer::max_questions);
}

TEST_F(StoreTrouble, AFileOfGarbageIsSetAsideAndANewOneBegun) {
  fs::create_directory(dir_.state());
  const std::string garbage(8192, 'g');
  write_file(dir_.database(), garbage);
  const auto seconds = static_cast<std::uint64_t>(::time(nullptr));
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "ok");
  const auto aside = set_aside_in(dir_.state());
  ASSERT_EQ(aside.size(), 1u);
  EXPECT_THAT(aside[0], StartsWith(dir_.database() + ".corrupt-"));
  EXPECT_THAT(loop->status().why, HasSubstr(aside[0]));
  std::ifstream kept(aside[0], std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}), garbage);
  EXPECT_GE(loop->last_worker_id(), seconds);
  EXPECT_TRUE(loop.add(failure("a1")));
}

TEST_F(StoreTrouble, IdsAfterACorruptFileGoOnFromTheTimeAlsoAfterTheNextRestart) {
  fs::create_directory(dir_.state());
  write_file(dir_.database(), std::string(8192, 'g'));
  std::uint64_t given = 0;
  {
    Loop loop(dir_.state());
    given = loop->last_worker_id();
  }
  Loop again(dir_.state());
  EXPECT_EQ(again->last_worker_id(), given);
}

// Overwrites all of the file but its first page while the store has it open.
void spoil(const std::string& path) {
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  const auto size = static_cast<std::size_t>(fs::file_size(path));
  const std::string garbage(size - 4096, '\x5a');
  ASSERT_EQ(::pwrite(file.get(), garbage.data(), garbage.size(), 4096), static_cast<ssize_t>(garbage.size()));
}

TEST_F(StoreTrouble, ACorruptPageFoundLaterIsSetAsideAndTheRowIsStoredInANewFile) {
  {
    Loop before(dir_.state());
    for (int i = 0; i < 50; ++i) before->add(big("a" + std::to_string(i)), nullptr);
    ASSERT_TRUE(before.add(failure("last", 9)));
  }
  spoil(dir_.database());
  Loop loop(dir_.state());
  EXPECT_TRUE(loop.add(failure("b1")));
  EXPECT_THAT(loop.ids(), ElementsAre("b1"));
  EXPECT_EQ(loop->status().state, "ok");
  EXPECT_EQ(set_aside_in(dir_.state()).size(), 1u);
  EXPECT_TRUE(loop.add(failure("b2")));
}

TEST_F(StoreTrouble, ACorruptPageFoundByAQuestionIsSetAsideAndTheQuestionAnswered) {
  {
    Loop before(dir_.state());
    for (int i = 0; i < 50; ++i) before->add(big("a" + std::to_string(i)), nullptr);
    ASSERT_TRUE(before.add(failure("last", 9)));
    before->reserve_worker_ids(77);
  }
  Loop loop(dir_.state());
  ASSERT_EQ(loop->last_worker_id(), 77u);
  {
    // SQLite must not see that this process closes the file, so another one spoils it.
    const pid_t child = ::fork();
    if (child == 0) {
      spoil(dir_.database());
      ::_exit(0);
    }
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  }
  EXPECT_THAT(loop.ids(), IsEmpty());
  EXPECT_EQ(loop->status().state, "ok");
  EXPECT_THAT(loop.states(), ElementsAre("ok"));
  EXPECT_EQ(set_aside_in(dir_.state()).size(), 1u);
  EXPECT_TRUE(loop.add(failure("b1", 3)));
  loop.store().close();
  Loop again(dir_.state());
  EXPECT_EQ(again->last_worker_id(), 77u);
}

TEST_F(StoreTrouble, TwoFilesSetAsideInTheSameSecondHaveTwoNames) {
  fs::create_directory(dir_.state());
  std::vector<std::string> names;
  for (const char* content : {"one", "two"}) {
    write_file(dir_.database(), content);
    write_file(dir_.database() + "-wal", content);
    const auto name = set_aside(dir_.database());
    ASSERT_TRUE(name.ok()) << name.error().what;
    names.push_back(*name);
    EXPECT_TRUE(fs::exists(*name + "-wal"));
  }
  EXPECT_NE(names[0], names[1]);
  EXPECT_FALSE(fs::exists(dir_.database()));
}

TEST_F(StoreTrouble, AFileThatIsRemovedUnderTheStoreIsBegunAnew) {
  Loop loop(dir_.state());
  loop->reserve_worker_ids(50);
  ASSERT_TRUE(loop.add(failure("a1")));
  fs::remove(dir_.database());
  ASSERT_TRUE(loop.add(failure("a2")));
  EXPECT_THAT(loop.ids(), ElementsAre("a2"));
  EXPECT_EQ(loop->status().state, "ok");
  EXPECT_THAT(loop->status().why, HasSubstr("moved away"));
  loop.store().close();
  Loop again(dir_.state());
  EXPECT_THAT(again.ids(), ElementsAre("a2"));
  EXPECT_EQ(again->last_worker_id(), 50u);
}

TEST_F(StoreTrouble, TheDirectoryAndTheFilesAreForTheirUserOnly) {
  const mode_t before = ::umask(0);
  Loop loop(dir_.state());
  ASSERT_TRUE(loop.add(failure("a1")));
  ::umask(before);
  struct stat found {};
  ASSERT_EQ(::stat(dir_.state().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0700u);
  for (const auto& entry : fs::directory_iterator(dir_.state())) {
    ASSERT_EQ(::stat(entry.path().c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 07777, 0600u) << entry.path();
  }
}

TEST_F(StoreTrouble, AFileOpenToOthersIsClosedToThem) {
  fs::create_directory(dir_.state());
  write_file(dir_.database(), "");
  ASSERT_EQ(::chmod(dir_.database().c_str(), 0644), 0);
  Loop loop(dir_.state());
  struct stat found {};
  ASSERT_EQ(::stat(dir_.database().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
}

TEST_F(StoreTrouble, ASymbolicLinkInPlaceOfTheFileIsRefused) {
  fs::create_directory(dir_.state());
  write_file(dir_.path() + "/victim", "precious");
  fs::create_symlink(dir_.path() + "/victim", dir_.database());
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "degraded");
  EXPECT_THAT(loop->status().why, HasSubstr("symbolic link"));
  EXPECT_EQ(fs::file_size(dir_.path() + "/victim"), 8u);
}

TEST_F(StoreTrouble, ASymbolicLinkInPlaceOfItsLogIsRefused) {
  for (const char* suffix : {"-wal", "-shm", "-journal"}) {
    fs::create_directory(dir_.state());
    write_file(dir_.path() + "/victim", "precious");
    fs::create_symlink(dir_.path() + "/victim", dir_.database() + suffix);
    Loop loop(dir_.state());
    EXPECT_EQ(loop->status().state, "degraded");
    EXPECT_THAT(loop->status().why, HasSubstr(std::string(suffix) + " is not a plain file"));
    EXPECT_EQ(fs::file_size(dir_.path() + "/victim"), 8u);
    fs::remove_all(dir_.state());
  }
}

TEST_F(StoreTrouble, AStateDirectoryReachedThroughALinkIsUsed) {
  fs::create_directory(dir_.path() + "/real");
  fs::create_symlink(dir_.path() + "/real", dir_.state());
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "ok") << loop->status().why;
  EXPECT_TRUE(fs::exists(dir_.path() + "/real/refork.db"));
}

TEST_F(StoreTrouble, WhatIsNoPlainFileIsRefused) {
  fs::create_directory(dir_.state());
  ASSERT_EQ(::mkfifo(dir_.database().c_str(), 0600), 0);
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "degraded");
  EXPECT_THAT(loop->status().why, HasSubstr("not a plain file"));
}

TEST_F(StoreTrouble, AStateDirectoryThatEverybodyCanWriteToIsRefused) {
  fs::create_directory(dir_.state());
  ASSERT_EQ(::chmod(dir_.state().c_str(), 0777), 0);
  Loop loop(dir_.state());
  EXPECT_EQ(loop->status().state, "degraded");
  EXPECT_THAT(loop->status().why, HasSubstr("writable by others"));
  ASSERT_EQ(::chmod(dir_.state().c_str(), 0755), 0);
  loop->add(failure("a1"), nullptr);
  EXPECT_TRUE(until_ok(loop));
}

}  // namespace
}  // namespace refork::store::testing
