// refork-symbolizer with files that nobody would link, and packets that nobody would send.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "support/process.h"
#include "symbolizer/serve.h"

namespace refork::symbolizer {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

const std::string own_path = fs::read_symlink("/proc/self/exe");

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

proto::SymbolQuestion about(const std::string& module, const std::string& build_id = "") {
  proto::SymbolQuestion question;
  for (std::uint64_t offset = 0; offset < 0x8000; offset += 0x1001)
    question.frames.push_back({module, offset});
  if (!build_id.empty()) question.build_ids = {{module, build_id}};
  return question;
}

bool knows_nothing(const proto::SymbolAnswer& answer) {
  return std::all_of(answer.frames.begin(), answer.frames.end(), [](const auto& one) { return one.empty(); });
}

// Small, and with everything: the helper itself may be the largest program of a debug build.
const std::string& some_elf() {
  static const std::string text = contents("/bin/true");
  return text;
}

class Junk : public testing::Test {
 protected:
  test::TempDir directory;
  Resolver resolver{directory.file("debug")};
  std::string path = directory.file("module");
};

TEST_F(Junk, WhatIsNoRegularFileIsNotOpened) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(open_regular(path));
  EXPECT_FALSE(open_regular(directory.path()));
  EXPECT_FALSE(open_regular("/dev/null"));
  EXPECT_FALSE(open_regular(directory.file("missing")));
  EXPECT_TRUE(knows_nothing(resolver.answer(about(path), -1)));
  EXPECT_TRUE(knows_nothing(resolver.answer(about(directory.path()), -1)));
  EXPECT_TRUE(knows_nothing(resolver.answer(about("/dev/zero"), -1)));
  EXPECT_TRUE(knows_nothing(resolver.answer(about(""), -1)));
  EXPECT_TRUE(knows_nothing(resolver.answer(about("relative"), -1)));
}

TEST_F(Junk, WhatIsNoElfFileTellsNothing) {
  for (const std::string text :
       {"", "\177ELF", "#!/bin/sh\n", "\177ELF\2\1\1 and so on, but much too short"}) {
    write_file(path, text);
    EXPECT_TRUE(knows_nothing(resolver.answer(about(path), -1))) << text;
  }
}

TEST_F(Junk, ATruncatedFileDoesNoHarm) {
  for (std::size_t part = 1; part <= 32; ++part) {
    write_file(path, some_elf().substr(0, some_elf().size() * part / 33));
    EXPECT_EQ(resolver.answer(about(path), -1).frames.size(), about(path).frames.size());
  }
}

// In a helper of its own: what libdw does not survive must not end the test, nor reforkd.
TEST_F(Junk, ADamagedFileDoesNoHarmBeyondTheHelper) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    std::string text = some_elf();
    for (int flip = 0; flip < 20; ++flip)
      text[random() % (flip % 2 == 0 ? 1024 : text.size())] = static_cast<char>(random());
    write_file(path, text);
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const base::UniqueFd own(ends[0]);
    base::UniqueFd its(ends[1]);
    test::Process::Options options;
    options.argv = {"/bin/sh", "-c", "exec " + test::built_program("refork-symbolizer") + " <&9 9<&-"};
    options.fds = {{its.get(), 9}};
    test::Process helper(std::move(options));
    its.reset();
    const auto packet = *proto::encode(about(path));
    ASSERT_EQ(::send(own.get(), packet.data(), packet.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(packet.size()));
    pollfd answered{own.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&answered, 1, 20000), 1) << "it hangs on round " << round;
  }
}

// The call of this function, as an offset in this program.
[[gnu::noinline]] std::uint64_t offset_of_caller() {
  const auto address = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Dl_info info{};
  ::dladdr(reinterpret_cast<void*>(address), &info);
  return address - 1 - reinterpret_cast<std::uintptr_t>(info.dli_fbase);
}

TEST_F(Junk, AFileIsBelievedByItsBuildIdAlone) {
  const auto module = Module::load(open_regular(own_path), own_path, "");
  ASSERT_TRUE(module);
  ASSERT_FALSE(module->build_id().empty());
  proto::SymbolQuestion question;
  question.frames = {{own_path, offset_of_caller()}};
  EXPECT_FALSE(knows_nothing(resolver.answer(question, -1))) << "none recorded";
  question.build_ids = {{own_path, module->build_id()}};
  const auto known = resolver.answer(question, -1);
  ASSERT_FALSE(knows_nothing(known));
  EXPECT_NE(known.frames[0].back().file.find("symbolizer_test.cc"), std::string::npos);
  question.build_ids = {{own_path, "00112233"}};
  EXPECT_TRUE(knows_nothing(resolver.answer(question, -1)));
}

// A path alone, as reforkd passes it; the file behind it is gone from its directory.
TEST_F(Junk, TheExecutableThatCameAlongIsReadThoughItsPathIsAnotherFile) {
  fs::copy_file(own_path, path);
  const base::UniqueFd executable(::open(path.c_str(), O_PATH | O_CLOEXEC));
  fs::remove(path);
  proto::SymbolQuestion question;
  question.frames = {{path, offset_of_caller()}};
  EXPECT_TRUE(knows_nothing(resolver.answer(question, -1)));
  EXPECT_FALSE(knows_nothing(resolver.answer(question, executable.get())));
}

TEST_F(Junk, AFileThatChangedIsReadAnew) {
  fs::copy_file(own_path, path);
  proto::SymbolQuestion question;
  question.frames = {{path, offset_of_caller()}};
  EXPECT_FALSE(knows_nothing(resolver.answer(question, -1)));
  write_file(path + ".new", "nothing");
  fs::rename(path + ".new", path);
  EXPECT_TRUE(knows_nothing(resolver.answer(question, -1)));
}

TEST_F(Junk, NoMoreFilesAreKeptThanTheLimit) {
  for (std::size_t i = 0; i <= Resolver::max_files; ++i) {
    write_file(path + std::to_string(i), "x");
    resolver.answer(about(path + std::to_string(i)), -1);
    EXPECT_EQ(resolver.files(), std::min(i + 1, Resolver::max_files));
  }
}

class Served : public testing::Test {
 protected:
  Served() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    asking.reset(ends[0]);
    answering.reset(ends[1]);
  }
  void send(const std::string& packet) {
    ASSERT_EQ(::send(asking.get(), packet.data(), packet.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(packet.size()));
  }
  // What came back once everything that was sent is done.
  std::vector<std::string> all_answers() {
    ::shutdown(asking.get(), SHUT_WR);
    EXPECT_TRUE(serve(answering.get(), resolver));
    answering.reset();
    std::vector<std::string> all;
    std::vector<char> buffer(2 * proto::max_symbol_packet);
    for (ssize_t size; (size = ::recv(asking.get(), buffer.data(), buffer.size(), 0)) > 0;)
      all.emplace_back(buffer.data(), static_cast<std::size_t>(size));
    return all;
  }
  Resolver resolver{"/nonexistent"};
  base::UniqueFd asking, answering;
};

TEST_F(Served, EveryQuestionGetsItsAnswerAndNonsenseGetsNone) {
  auto question = about("/nonexistent");
  question.id = 1;
  send(*proto::encode(question));
  send("nonsense");
  send(std::string(proto::max_symbol_packet + 1, ' '));
  question.id = 2;
  send(*proto::encode(question));
  const auto answers = all_answers();
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(proto::decode_symbol_answer(answers[0])->id, 1u);
  EXPECT_EQ(proto::decode_symbol_answer(answers[1])->id, 2u);
}

TEST_F(Served, ItEndsWhenNobodyAsks) { EXPECT_TRUE(serve(answering.get(), resolver, {milliseconds(1), 20})); }

TEST(Program, ItWantsASocketAndKnownOptions) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"--what"}, {"--debug-root"}}) {
    test::Process::Options options;
    options.argv = {test::built_program("refork-symbolizer")};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    test::Process process(std::move(options));
    const auto exit = process.wait();
    ASSERT_TRUE(exit);
    EXPECT_EQ(exit->code, 2);
  }
}

}  // namespace
}  // namespace refork::symbolizer
