// What the manuals and the tutorial tell an operator to type, on a machine with the packages installed.
#include <gmock/gmock.h>

#include <sstream>

#include "e2e/system/installed.h"

namespace refork::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Documents : public Installed {
 protected:
  // What `manual_examples` takes out of the pages.
  static std::string examples(const std::string& option) {
    Process::Options options;
    options.argv = {built_program("tests/manual_examples"), option};
    Process program(std::move(options));
    program.wait();
    return program.output();
  }
};

TEST_F(Documents, TheCommandsOfTheManualsThatNeedASystemWorkOnOne) {
  serve({{"web", web()}});
  std::istringstream lines(examples("--system"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const std::string command = line.substr(line.find('\t') + 1);
    if (command.find(" monitor ") != std::string::npos) {
      Process monitor = machine_.start({"/bin/sh", "-c", "exec stdbuf -oL " + command});
      EXPECT_TRUE(monitor.wait_for_error_line("Monitoring bus message stream")) << line;
      EXPECT_EQ(http_get(kWeb, "/error").status, 500);
      EXPECT_TRUE(monitor.wait_for_line("FailureRecorded")) << line;
      continue;
    }
    const auto ran = machine_.sh(command);
    EXPECT_EQ(ran.code, 0) << line << ran.out << ran.err;
  }
  EXPECT_GE(count, 9);
  EXPECT_TRUE(wait_until_settled());
}

TEST_F(Documents, TheTutorialGoesAsItSays) {
  Process tutorial = machine_.start({"env", "PROGRAMS=/guides", "/bin/bash", "-c", examples("--tutorial")});
  const auto exit = tutorial.wait(120s);
  ASSERT_TRUE(exit && exit->code == 0) << tutorial.output() << tutorial.errors();
  EXPECT_THAT(tutorial.output(), HasSubstr("user 7"));
  EXPECT_THAT(tutorial.output(), HasSubstr("sorry: "));
  EXPECT_THAT(tutorial.output(), HasSubstr("answer_to"));
}

}  // namespace
}  // namespace refork::test
