// From a throw to a stored failure with names, with the real reforkd and its helper: what an operator reads,
// and what of it stays the same from build to build.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/daemon.h"

namespace refork::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;

std::string subject(const std::string& variant) { return built_program("tests/symbol_subject_" + variant); }

// The line of the subject's source that is marked so.
int line_of(const std::string& mark) {
  std::ifstream source(SYMBOL_SUBJECT_SOURCE);
  std::string line;
  for (int number = 1; std::getline(source, line); ++number)
    if (line.ends_with("// throws: " + mark)) return number;
  ADD_FAILURE() << "no line is marked " << mark;
  return 0;
}

void run(std::vector<std::string> command) {
  Process::Options options;
  options.argv = std::move(command);
  Process process(std::move(options));
  const auto exit = process.wait();
  ASSERT_TRUE(exit && exit->code == 0) << process.errors();
}

// A directory that the helper, who is nobody, may enter.
class OpenDir : public TempDir {
 public:
  OpenDir() { fs::permissions(path(), fs::perms(0755)); }
};

// A service of one subject, and the pipe by which it is told to fail.
class Subject {
 public:
  explicit Subject(const std::string& program, const std::string& reforkd = built_program("reforkd"))
      : pipe_(make_pipe()),
        daemon(Daemon::of_program(reforkd, {"--workers", "1", "--environment", "ASAN_OPTIONS=handle_abort=0",
                                            "--", program, directory_.file("pipe")})) {
    EXPECT_TRUE(daemon.wait_for_state("running")) << daemon.log();
  }

  json fail(const std::string& command) {
    const std::string line = command + "\n";
    EXPECT_EQ(::write(pipe_.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
    ++failures_;
    EXPECT_TRUE(daemon.wait_for_failures(failures_)) << daemon.log();
    const json all = daemon.failures();
    return all.empty() ? json() : all[0];
  }

  std::vector<pid_t> helpers() const {
    std::vector<pid_t> found;
    const auto own = std::to_string(daemon.pid());
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "stat");
      std::string pid, name, state, parent;
      if (file >> pid >> name >> state >> parent && name.starts_with("(refork-symboli") && parent == own)
        found.push_back(std::stoi(pid));
    }
    return found;
  }

 private:
  base::UniqueFd make_pipe() {
    EXPECT_EQ(::mkfifo(directory_.file("pipe").c_str(), 0600), 0);
    return base::UniqueFd(::open(directory_.file("pipe").c_str(), O_RDWR | O_CLOEXEC));
  }
  TempDir directory_;
  base::UniqueFd pipe_;
  std::size_t failures_ = 0;

 public:
  Daemon daemon;
};

json first_own(const json& failure) {
  for (const auto& frame : failure["stack"])
    if (frame["in_app"] == true) return frame;
  ADD_FAILURE() << "no frame of the application in " << failure.dump(1);
  return {};
}

std::string text(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }

void expect_place(const json& failure, const std::string& function, const std::string& mark) {
  const json frame = first_own(failure);
  ASSERT_TRUE(frame.is_object());
  EXPECT_THAT(text(frame["function"]), HasSubstr(function)) << failure["stack"].dump(1);
  EXPECT_THAT(text(frame["file"]), EndsWith("/symbol_subject.cc"));
  EXPECT_EQ(frame["line"], line_of(mark)) << failure["stack"].dump(1);
}

class EveryBuild : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Symbols, EveryBuild,
                         testing::Values("shared_O0", "shared_O2", "static_O0", "static_O2"),
                         [](const auto& build) { return std::string(build.param); });

TEST_P(EveryBuild, TheFirstOwnFrameIsTheThrowingFunctionAtTheThrowingLine) {
  Subject service(subject(GetParam()));
  const json failure = service.fail("parse broken");
  expect_place(failure, "app::check(", "check");
  EXPECT_EQ(failure["unnamed"], false);
  EXPECT_EQ(failure["build_ids"].count(subject(GetParam())), 1u) << failure["build_ids"];
  expect_place(service.fail("store full"), "app::store(", "store");
}

TEST_P(EveryBuild, WhatTheThrowerWasInlinedIntoFollowsIt) {
  Subject service(subject(GetParam()));
  std::vector<std::string> own;
  const json failure = service.fail("parse broken");
  for (const auto& frame : failure["stack"])
    if (frame["in_app"] == true) own.push_back(text(frame["function"]).substr(0, 10));
  ASSERT_GE(own.size(), 3u);
  EXPECT_EQ(own[0], "app::check");
  EXPECT_EQ(own[1], "app::parse");
  EXPECT_EQ(own[2], "app::fail(");
}

TEST_P(EveryBuild, NoFrameOfReforkOrTheStandardLibraryIsTheApplications) {
  Subject service(subject(GetParam()));
  const json failure = service.fail("store full");
  for (const auto& frame : failure["stack"])
    if (frame["in_app"] == true) {
      EXPECT_THAT(text(frame["function"]), testing::AnyOf(HasSubstr("app::"), HasSubstr("main")));
    }
}

TEST(Symbols, AStrippedProgramKeepsModuleAndOffset) {
  OpenDir directory;
  const std::string stripped = directory.file("server");
  run({"strip", "-o", stripped, subject("static_O2")});
  Subject service(stripped);
  const json frame = first_own(service.fail("parse broken"));
  EXPECT_EQ(frame["module"], stripped);
  EXPECT_GT(frame["offset"], 0);
  EXPECT_TRUE(frame["file"].is_null()) << frame;
}

TEST(Symbols, ASeparateDebugFileIsFoundByItsLink) {
  OpenDir directory;
  const std::string stripped = directory.file("server");
  fs::create_directory(directory.file(".debug"));
  run({"objcopy", "--only-keep-debug", subject("static_O2"), directory.file(".debug/server.dbg")});
  run({"objcopy", "--strip-all", "--add-gnu-debuglink=" + directory.file(".debug/server.dbg"),
       subject("static_O2"), stripped});
  Subject service(stripped);
  expect_place(service.fail("parse broken"), "app::check(", "check");
}

// A reforkd beside a helper that looks for debug files in a place of its own.
TEST(Symbols, ASeparateDebugFileIsFoundByItsBuildId) {
  OpenDir directory;
  const std::string id = [&] {
    Subject service(subject("static_O2"));
    return text(service.fail("parse broken")["build_ids"][subject("static_O2")]);
  }();
  ASSERT_GT(id.size(), 2u);
  const std::string folder = directory.file("debug/.build-id/" + id.substr(0, 2));
  fs::create_directories(folder);
  run({"objcopy", "--only-keep-debug", subject("static_O2"), folder + "/" + id.substr(2) + ".debug"});
  run({"strip", "-o", directory.file("server"), subject("static_O2")});
  fs::copy_file(built_program("reforkd"), directory.file("reforkd"));
  std::ofstream(directory.file("refork-symbolizer"))
      << "#!/bin/sh\nexec " << built_program("refork-symbolizer") << " --debug-root "
      << directory.file("debug") << "\n";
  fs::permissions(directory.file("refork-symbolizer"), fs::perms(0755));
  Subject service(directory.file("server"), directory.file("reforkd"));
  expect_place(service.fail("parse broken"), "app::check(", "check");
}

TEST(Symbols, AProgramReplacedOnDiskIsStillReadAsItRuns) {
  OpenDir directory;
  const std::string server = directory.file("server"), next = directory.file("next");
  fs::copy_file(subject("static_O2"), server);
  fs::copy_file(subject("changed_O2"), next);
  Subject service(server);
  fs::rename(next, server);
  const json failure = service.fail("parse broken");
  EXPECT_EQ(first_own(failure)["module"], server);
  expect_place(failure, "app::check(", "check");
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Symbols, TheHelperIsFoundBelowWhateverPrefixReforkdIsInstalled) {
  OpenDir directory;
  const std::string prefix = directory.file("prefix");
  run({"cmake", "--install", BUILD_DIRECTORY, "--component", "Unspecified", "--prefix", prefix});
  const std::string reforkd = prefix + "/bin/reforkd";
  {
    Subject service(subject("static_O2"), reforkd);
    expect_place(service.fail("parse broken"), "app::check(", "check");
  }
  EXPECT_THAT(contents(prefix + "/lib/systemd/system/reforkd.service"),
              HasSubstr("\nExecStart=" + reforkd + " --no-keeper --config"));
  const std::string schema = prefix + "/share/refork/refork.schema.json";
  EXPECT_TRUE(fs::exists(schema));
  EXPECT_THAT(contents(prefix + "/share/doc/refork/examples/refork.json.example"),
              HasSubstr("\"$schema\": \"" + schema + "\""));
}

TEST(Symbols, WithoutAHelperFailuresAreStoredAsTheyAreWithOneWarning) {
  if (fs::exists(INSTALLED_SYMBOLIZER)) GTEST_SKIP() << "there is one installed";
  TempDir directory;
  fs::copy_file(built_program("reforkd"), directory.file("reforkd"));
  Subject service(subject("shared_O2"), directory.file("reforkd"));
  const json failure = service.fail("parse broken");
  EXPECT_EQ(failure["message"], "broken");
  EXPECT_TRUE(first_own(failure)["file"].is_null());
  EXPECT_EQ(failure["unnamed"], true);
  EXPECT_THAT(service.daemon.ctl({"failures", "show", text(failure["id"])}).out,
              HasSubstr("names        not known"));
  service.fail("store full");
  const std::string log = service.daemon.log();
  const std::string warning = "failures are recorded without the names of functions";
  const auto first = log.find(warning);
  EXPECT_NE(first, log.npos) << log;
  EXPECT_EQ(log.find(warning, first + 1), log.npos) << log;
}

TEST(Symbols, AKilledHelperIsStartedAgain) {
  Subject service(subject("shared_O2"));
  service.fail("parse broken");
  ASSERT_EQ(service.helpers().size(), 1u);
  ASSERT_EQ(::kill(service.helpers()[0], SIGKILL), 0);
  ASSERT_TRUE(wait_until([&] { return service.helpers().empty(); }));
  expect_place(service.fail("store full"), "app::store(", "store");
  EXPECT_EQ(service.helpers().size(), 1u);
}

TEST(Symbols, TheHelperEndsWithItsDaemon) {
  Subject service(subject("shared_O2"));
  service.fail("parse broken");
  const auto helpers = service.helpers();
  ASSERT_EQ(helpers.size(), 1u);
  service.daemon.kill();
  EXPECT_TRUE(wait_until([&] { return !fs::exists("/proc/" + std::to_string(helpers[0]) + "/exe"); }));
}

TEST(Symbols, TheHelperHasFewRightsAndFewDescriptors) {
  Subject service(subject("shared_O2"));
  service.fail("parse broken");
  ASSERT_EQ(service.helpers().size(), 1u);
  const std::string process = "/proc/" + std::to_string(service.helpers()[0]);
  std::ifstream file(process + "/status");
  const std::string status{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(status, testing::Not(HasSubstr("Uid:\t0")));
  EXPECT_EQ(fs::file_size(process + "/environ"), 0u);
}

std::string print_of(Subject& service, const std::string& command) {
  return text(service.fail(command)["fingerprint"]);
}

TEST(Fingerprints, AreTheSameInEveryProcessAndWhateverTheMessage) {
  Subject one(subject("static_O2")), other(subject("static_O2"));
  const std::string print = print_of(one, "parse broken");
  EXPECT_EQ(print.size(), 16u);
  EXPECT_EQ(print_of(other, "parse broken"), print);
  EXPECT_EQ(print_of(one, "parse otherwise"), print);
}

TEST(Fingerprints, SurviveARebuildOfOtherFunctions) {
  Subject before(subject("static_O2")), after(subject("changed_O2"));
  EXPECT_EQ(print_of(before, "parse broken"), print_of(after, "parse broken"));
}

TEST(Fingerprints, DifferWhereTheThrowDiffers) {
  Subject service(subject("static_O2"));
  EXPECT_NE(print_of(service, "parse same"), print_of(service, "store same"));
}

TEST(Fingerprints, CountRecursionOnce) {
  Subject service(subject("static_O0"));
  EXPECT_EQ(print_of(service, "descend 3"), print_of(service, "descend 7"));
}

}  // namespace
}  // namespace refork::test
