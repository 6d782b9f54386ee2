// The client of refork-symbolizer with programs that are, or are not, what it expects.
#include "supervisor/symbolizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "supervisor/failures.h"
#include "support/process.h"

namespace refork::supervisor {
namespace {

namespace fs = std::filesystem;

class SymbolizerTest : public testing::Test {
 protected:
  SymbolizerTest() { fs::permissions(directory.path(), fs::perms(0755)); }

  std::string script(const std::string& text) {
    const std::string path = directory.file("helper");
    std::ofstream(path) << "#!/bin/sh\n" << text << "\n";
    fs::permissions(path, fs::perms(0755));
    return path;
  }
  void use(const std::string& program, std::chrono::milliseconds silence = std::chrono::seconds(25)) {
    symbolizer.emplace(
        loop,
        Symbolizer::Setup{
            {"/nonexistent/refork-symbolizer", program}, {}, [](const std::string&) { return ""; }, silence});
  }
  void ask(proto::FailureRecord record) {
    ++asked;
    symbolizer->ask({"web", 0, 1, ::getpid(), 1}, record, [this](std::optional<proto::SymbolAnswer> answer) {
      answers.push_back(std::move(answer));
    });
  }
  static proto::FailureRecord record() {
    proto::FailureRecord record;
    record.stack = {{"", "", 0, fs::read_symlink("/proc/self/exe"), 1, true}};
    return record;
  }
  void run_until_answered() {
    const auto deadline = core::Clock::now() + std::chrono::seconds(20);
    while (answers.size() < asked && core::Clock::now() < deadline) sd_event_run(loop.get(), 100000);
    ASSERT_EQ(answers.size(), asked);
  }

  test::TempDir directory;
  Loop loop;
  std::optional<Symbolizer> symbolizer;
  std::size_t asked = 0;
  std::vector<std::optional<proto::SymbolAnswer>> answers;
};

TEST_F(SymbolizerTest, AnswersComeInOrder) {
  use(test::built_program("refork-symbolizer"));
  for (std::size_t frames = 0; frames < 40; ++frames) {
    auto one = record();
    one.stack.resize(frames, one.stack[0]);
    ask(one);
  }
  run_until_answered();
  for (std::size_t frames = 0; frames < answers.size(); ++frames) {
    ASSERT_TRUE(answers[frames]) << frames;
    EXPECT_EQ(answers[frames]->frames.size(), frames);
  }
  std::vector<pid_t> pids;
  symbolizer->list_pids(pids);
  EXPECT_EQ(pids.size(), 1u);
}

TEST_F(SymbolizerTest, WithoutAProgramThereIsNoAnswer) {
  use("/nonexistent/either");
  ask(record());
  run_until_answered();
  EXPECT_FALSE(answers[0]);
}

TEST_F(SymbolizerTest, AProgramThatEndsAtOnceCostsOneQuestionEachTime) {
  use(script("exit 1"));
  ask(record());
  ask(record());
  run_until_answered();
  EXPECT_FALSE(answers[0]);
  EXPECT_FALSE(answers[1]);
}

TEST_F(SymbolizerTest, QuestionsAfterTheOneThatKilledAHelperAreAskedOfTheNext) {
  // The first one dies of its first question, the second is the real one.
  const std::string mark = directory.file("mark");
  std::ofstream(mark).put('x');
  fs::permissions(directory.path(), fs::perms(0777));
  use(script("if mv " + mark + " " + mark + ".used 2>/dev/null; then kill -SEGV $$; fi\nexec " +
             test::built_program("refork-symbolizer")));
  ask(record());
  ask(record());
  ask(record());
  run_until_answered();
  EXPECT_FALSE(answers[0]);
  EXPECT_TRUE(answers[1]);
  EXPECT_TRUE(answers[2]);
}

TEST_F(SymbolizerTest, AProgramThatHangsCostsThePatienceOnce) {
  use(script("exec sleep 60"));
  const auto before = core::Clock::now();
  for (int i = 0; i < 3; ++i) ask(record());
  run_until_answered();
  EXPECT_GE(core::Clock::now() - before, symbol_patience);
  for (const auto& answer : answers) EXPECT_FALSE(answer);
}

TEST_F(SymbolizerTest, AProgramThatIsStoppedIsEndedAndTheNextIsAsked) {
  const std::string mark = directory.file("mark");
  std::ofstream(mark).put('x');
  fs::permissions(directory.path(), fs::perms(0777));
  use(script("if mv " + mark + " " + mark + ".used 2>/dev/null; then kill -STOP $$; fi\nexec " +
             test::built_program("refork-symbolizer")),
      std::chrono::milliseconds(500));
  ask(record());
  ask(record());
  run_until_answered();
  EXPECT_FALSE(answers[0]);
  EXPECT_TRUE(answers[1]);
}

TEST_F(SymbolizerTest, AProgramThatAnswersNonsenseIsEnded) {
  use(script("exec cat <&0 >&0"));  // gives the question back
  ask(record());
  run_until_answered();
  EXPECT_FALSE(answers[0]);
  const auto deadline = core::Clock::now() + std::chrono::seconds(20);
  std::vector<pid_t> pids;
  do {
    sd_event_run(loop.get(), 100000);
    pids.clear();
    symbolizer->list_pids(pids);
  } while (!pids.empty() && core::Clock::now() < deadline);
  EXPECT_TRUE(pids.empty());
}

TEST_F(SymbolizerTest, MoreQuestionsThanMayWaitGetNoAnswer) {
  use(script("exec sleep 60"));
  for (std::size_t i = 0; i < Symbolizer::max_waiting; ++i) ask(record());
  EXPECT_TRUE(answers.empty());
  ask(record());
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(answers[0]);
}

TEST_F(SymbolizerTest, AQuestionThatFitsNoPacketIsNotAsked) {
  use(test::built_program("refork-symbolizer"));
  auto large = record();
  large.stack.assign(proto::max_frames, {"", "", 0, "/" + std::string(600, 'x'), 1, true});
  ask(large);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(answers[0]);
}

}  // namespace
}  // namespace refork::supervisor
