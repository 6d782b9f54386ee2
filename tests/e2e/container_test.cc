// reforkd as PID 1, as in a container: in a PID namespace of its own it reaps what strangers leave behind,
// hears the signals that it should, and its exit code says how it ended.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The arguments of reforkd run in a PID namespace whose first process it is; its end is that of the
// container.
class Container {
 public:
  // `before`: shell commands in the container's mount namespace.
  explicit Container(std::vector<std::string> arguments, const std::string& before = "")
      : process_(options(std::move(arguments), before)) {}

  // As seen from outside; 0 as long as there is none.
  pid_t pid1() const {
    const std::string task =
        "/proc/" + std::to_string(process_.pid()) + "/task/" + std::to_string(process_.pid());
    return std::atoi(contents(task + "/children").c_str());
  }
  void signal(int number) const { ::kill(pid1(), number); }
  std::optional<Exit> wait() { return process_.wait(); }
  bool running() { return process_.running(); }
  std::string errors() const { return process_.errors(); }
  bool says(const std::string& part) const { return process_.wait_for_error_line(part).has_value(); }

  // As `docker exec`: a process from outside that goes in.
  std::string execute(std::vector<std::string> command) const {
    Process::Options options;
    options.argv = {"nsenter", "--target", std::to_string(pid1()), "--pid", "--mount", "--"};
    options.argv.insert(options.argv.end(), command.begin(), command.end());
    Process inside(std::move(options));
    const auto exit = inside.wait();
    return exit && exit->code == 0 ? inside.output() : "";
  }
  json status() const {
    const auto text = execute({built_program("reforkctl"), "--control", control, "status", "--json"});
    return text.empty() ? json() : json::parse(text);
  }
  bool wait_until_running() const {
    return wait_until([this] {
      const json now = status();
      return !now.is_null() && now["services"][0]["state"] == "running";
    });
  }

  static constexpr const char *control = "/run/refork/control", *state = "/run/refork/state";

 private:
  static Process::Options options(std::vector<std::string> arguments, const std::string& before) {
    Process::Options options;
    options.argv = {"unshare",
                    "--pid",
                    "--fork",
                    "--mount-proc",
                    "--kill-child",
                    "--",
                    "sh",
                    "-ec",
                    "mount -t tmpfs tmpfs /run; " + before + " exec \"$@\"",
                    "sh",
                    built_program("reforkd")};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    return options;
  }

  Process process_;
};

std::vector<std::string> run(std::vector<std::string> options, const std::vector<std::string>& command) {
  options.insert(options.begin(), {"run", "--control", Container::control, "--state-dir", Container::state});
  options.emplace_back("--");
  options.insert(options.end(), command.begin(), command.end());
  return options;
}

Address address_of(const Container& container) {
  const std::string listen = container.status()["services"][0]["listen"][0];
  return Address::tcp(static_cast<std::uint16_t>(std::stoi(listen.substr(listen.rfind(':') + 1))));
}

constexpr const char* needs_root = "a PID namespace needs root";

class ContainerTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << needs_root;
  }
  static Container start(std::vector<std::string> options = {}, const std::string& before = "") {
    options.insert(options.end(), {GetParam(), "--workers", "2", "--listen", "tcp://127.0.0.1:0"});
    return Container(run(std::move(options), {built_program("examples/http_asio")}), before);
  }
};

INSTANTIATE_TEST_SUITE_P(FirstProcess, ContainerTest, testing::Values("--keeper", "--no-keeper"),
                         [](const auto& first) {
                           return std::string(first.param) == "--keeper" ? "Keeper" : "Reforkd";
                         });

TEST_P(ContainerTest, ReapsTheOrphansOfStrangers) {
  const Container container = start();
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  const std::string orphan = container.execute({"sh", "-c", "sleep 0.3 >/dev/null 2>&1 & echo -n $!"});
  ASSERT_NE(orphan, "");
  EXPECT_EQ(container.execute({"sh", "-c", "awk '/^PPid/{printf $2}' /proc/" + orphan + "/status"}), "1");
  EXPECT_TRUE(wait_until([&] {
    return container.execute({"sh", "-c", "test -e /proc/" + orphan + " || echo gone"}) == "gone\n";
  })) << "it has ended, and nobody has reaped it";
}

TEST_P(ContainerTest, DrainsOnSigtermAndEndsWithZero) {
  Container container = start();
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  HttpConnection busy(address_of(container));
  ASSERT_TRUE(busy.send_get("/?delay=2000"));
  ASSERT_TRUE(wait_until([&] {
    const json workers = container.status()["services"][0]["workers"];
    return std::ranges::any_of(workers, [](const json& one) { return one["in_flight"] == 1; });
  }));
  container.signal(SIGTERM);
  EXPECT_EQ(busy.read_answer().status, 200);
  const auto exit = container.wait();
  ASSERT_TRUE(exit) << container.errors();
  EXPECT_EQ(exit->code, 0) << container.errors();
}

TEST_P(ContainerTest, EndsWithZeroOnSigint) {
  Container container = start();
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  container.signal(SIGINT);
  const auto exit = container.wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 0) << container.errors();
}

TEST_P(ContainerTest, GoesOnWhateverOtherSignalsCome) {
  Container container = start();
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  const json before = container.status();
  for (const int number : {SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGPIPE, SIGALRM}) container.signal(number);
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  const json after = container.status();
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_EQ(after["services"][0]["workers"][i]["pid"], before["services"][0]["workers"][i]["pid"]);
  EXPECT_EQ(http_get(address_of(container), "/").status, 200);
}

TEST_P(ContainerTest, WorksWhereOnlyRunCanBeWritten) {
  Container container = start({}, "mount -o remount,bind,ro /;");
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  EXPECT_EQ(container.execute({"sh", "-c", "touch /refork-probe 2>/dev/null || echo read-only"}),
            "read-only\n");
  EXPECT_EQ(http_get(address_of(container), "/error").status, 500);
  EXPECT_TRUE(wait_until([&] { return container.status()["services"][0]["failures"] == 1; }));
  EXPECT_THAT(container.errors(), HasSubstr("controls at")) << "without a journal it logs to standard error";
  container.signal(SIGTERM);
  const auto exit = container.wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 0) << container.errors();
}

TEST_P(ContainerTest, WorksWhereTheStateDirectoryCannotBeWritten) {
  Container container(
      {"run", GetParam(), "--control", Container::control, "--state-dir", "/var/lib/refork-none", "--listen",
       "tcp://127.0.0.1:0", "--", built_program("examples/http_asio")},
      "mount -o remount,bind,ro /;");
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  EXPECT_EQ(http_get(address_of(container), "/error").status, 500);
  EXPECT_TRUE(wait_until([&] { return container.status()["services"][0]["failures"] == 1; }));
}

TEST_P(ContainerTest, EndsWithThreeWhenEveryServiceIsGivenUpAndItWasToldTo) {
  Container container(run({GetParam(), "--exit-on-give-up", "--ready", "exec", "--restart-policy", "never"},
                          {"/bin/sleep", "0.2"}));
  const auto exit = container.wait();
  ASSERT_TRUE(exit) << container.errors();
  EXPECT_EQ(exit->code, 3) << container.errors();
  EXPECT_THAT(container.errors(), HasSubstr("given up"));
}

TEST_P(ContainerTest, EndsWithThreeAfterStartsThatFailed) {
  Container container(
      run({GetParam(), "--exit-on-give-up", "--restart-backoff", "10ms,10ms", "--restart-give-up", "2"},
          {"/bin/false"}));
  const auto exit = container.wait();
  ASSERT_TRUE(exit) << container.errors();
  EXPECT_EQ(exit->code, 3) << container.errors();
}

TEST_P(ContainerTest, EndsWithTwoForAMistake) {
  Container container({"run", GetParam(), "--workers", "many", "--", "/bin/true"});
  const auto exit = container.wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 2) << container.errors();
}

TEST(ContainerOfAKeeper, GoesOnWithTheSameWorkersWhenReforkdDiesBehindItsKeeper) {
  if (::geteuid() != 0) GTEST_SKIP() << needs_root;
  Container container(
      run({"--workers", "2", "--listen", "tcp://127.0.0.1:0"}, {built_program("examples/http_asio")}));
  ASSERT_TRUE(container.wait_until_running()) << container.errors();
  const json before = container.status();
  EXPECT_NE(before["daemon"]["pid"], 1);
  container.execute({"sh", "-c", "kill -KILL " + before["daemon"]["pid"].dump()});
  ASSERT_TRUE(container.says("goes on with 2 workers")) << container.errors();
  ASSERT_TRUE(container.wait_until_running());
  EXPECT_EQ(container.status()["services"][0]["workers"][0]["pid"],
            before["services"][0]["workers"][0]["pid"]);
}

TEST(ContainerExample, HasAConfigurationWithoutMistakes) {
  Process::Options options;
  options.argv = {built_program("reforkctl"), "check-config",
                  REFORK_SOURCE_DIR "/examples/container/refork.json"};
  Process check(std::move(options));
  const auto exit = check.wait();
  ASSERT_TRUE(exit);
  EXPECT_EQ(exit->code, 0) << check.errors();
}

// Stays as it is without the option: an operator may see why.
TEST(ContainerOfAKeeper, StaysWhereEveryServiceIsGivenUpUnlessToldOtherwise) {
  if (::geteuid() != 0) GTEST_SKIP() << needs_root;
  Container container(run({"--ready", "exec", "--restart-policy", "never"}, {"/bin/sleep", "0.2"}));
  ASSERT_TRUE(wait_until([&] {
    const json now = container.status();
    return !now.is_null() && now["services"][0]["state"] == "stopped";
  })) << container.errors();
  EXPECT_TRUE(container.running());
}

}  // namespace
}  // namespace refork::test
