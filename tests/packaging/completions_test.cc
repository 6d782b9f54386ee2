// The completions of reforkctl in real shells: whatever its help tells is offered, and so are the services,
// workers and failures of a real reforkd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "e2e/scene.h"

namespace refork::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

using Words = std::set<std::string>;

struct Shell {
  std::string name;
  std::vector<std::string> interpreter;
  std::string completions;
  friend void PrintTo(const Shell& shell, std::ostream* to) { *to << shell.name; }
};

const std::vector<Shell> shells = {{"bash", {"bash", "--norc"}, "reforkctl.bash"},
                                   {"zsh", {"zsh", "-f"}, "_reforkctl"},
                                   {"fish", {"fish", "--no-config"}, "reforkctl.fish"}};

std::string output_of(std::vector<std::string> argv) {
  Process::Options options;
  options.argv = std::move(argv);
  Process process(std::move(options));
  const auto exit = process.wait();
  EXPECT_TRUE(exit && exit->code == 0) << process.errors();
  return process.output();
}

// What a help text lists in this section, options without what they take.
Words listed(const std::string& help, const std::string& section) {
  Words words;
  std::istringstream lines(help);
  std::string line, current;
  while (std::getline(lines, line)) {
    if (!line.empty() && line.back() == ':' && line[0] != ' ') current = line;
    if (current != section || line.size() < 3 || line.compare(0, 2, "  ") != 0 || line[2] == ' ') continue;
    std::istringstream names(line.substr(2, line.find(' ', 2) - 2));
    for (std::string name; std::getline(names, name, ',');) words.insert(name);
  }
  return words;
}

class Completions : public testing::TestWithParam<Shell> {
 protected:
  // What TAB offers at the end of each line.
  std::map<std::string, Words> offered(const std::vector<std::string>& lines) {
    std::vector<std::string> argv = GetParam().interpreter;
    argv.push_back(REFORK_SOURCE_DIR "/tests/packaging/complete." + GetParam().name);
    argv.push_back(REFORK_SOURCE_DIR "/packaging/completions/" + GetParam().completions);
    argv.insert(argv.end(), lines.begin(), lines.end());
    const std::string programs = built_program("reforkctl");
    Process::Options options;
    options.argv = std::move(argv);
    options.environment = {"PATH=" + programs.substr(0, programs.rfind('/')) + ":/usr/bin:/bin",
                           "HOME=" + home_.path().string(), "REFORK_CONTROL=" + home_.file("none"),
                           "TERM=dumb"};
    options.directory = home_.path().string();
    Process shell(std::move(options));
    const auto exit = shell.wait(3 * kProcessPatience);  // it asks reforkctl a hundred times
    EXPECT_TRUE(exit && exit->code == 0) << shell.errors();
    EXPECT_EQ(shell.errors(), "");
    std::map<std::string, Words> all;
    std::istringstream said(shell.output());
    std::string line, current;
    while (std::getline(said, line))
      if (line.starts_with("> "))
        all[current = line.substr(2)];
      else if (!line.empty())
        all[current].insert(line.substr(0, line.find_last_not_of(' ') + 1));
    EXPECT_EQ(all.size(), lines.size());
    return all;
  }
  Words offered(const std::string& line) { return offered(std::vector{line})[line]; }

  TempDir home_;
};

INSTANTIATE_TEST_SUITE_P(Shells, Completions, testing::ValuesIn(shells),
                         [](const auto& shell) { return shell.param.name; });

// The command lines of all commands and what their help says, "reforkctl failures show" among them.
void collect_helps(const std::vector<std::string>& command, std::map<std::string, std::string>& helps) {
  std::vector<std::string> argv = {built_program("reforkctl")};
  argv.insert(argv.end(), command.begin(), command.end());
  argv.emplace_back("--help");
  std::string line = "reforkctl ";
  for (const auto& word : command) line += word + " ";
  const auto help = helps[line] = output_of(argv);
  for (const auto& sub : listed(help, "Subcommands:")) {
    auto longer = command;
    longer.push_back(sub);
    collect_helps(longer, helps);
  }
}

TEST_P(Completions, OfferEveryCommandAndOptionOfTheHelp) {
  std::map<std::string, std::string> helps;
  collect_helps({}, helps);
  ASSERT_GT(helps.size(), 15U);
  std::vector<std::string> lines;
  for (const auto& [line, help] : helps) lines.insert(lines.end(), {line, line + "-", line + "--"});
  auto offers = offered(lines);
  const Words general = listed(helps["reforkctl "], "Options:");
  for (const auto& [line, help] : helps) {
    EXPECT_EQ(listed(help, "Subcommands:"), offers[line]) << line;
    Words options = listed(help, "Options:"), seen = offers[line + "-"];
    options.insert(general.begin(), general.end());
    seen.merge(offers[line + "--"]);  // zsh shows the long ones only when they were begun
    EXPECT_EQ(options, seen) << line;
  }
}

TEST_P(Completions, OfferOnlyWhatGoesOnAsItWasBegun) {
  EXPECT_THAT(offered("reforkctl daemon-r"), Contains("daemon-reexec"));
  EXPECT_THAT(offered("reforkctl failures --ki"), ElementsAre("--kind"));
  EXPECT_THAT(offered("reforkctl failures --kind h"), UnorderedElementsAre("hang", "handler"));
}

TEST_P(Completions, OfferFilesWhereOneIsWanted) {
  ASSERT_EQ(output_of({"touch", home_.file("one.json"), home_.file("two.json")}), "");
  EXPECT_THAT(offered("reforkctl check-config on"), ElementsAre("one.json"));
  EXPECT_THAT(offered("reforkctl --control tw"), ElementsAre("two.json"));
}

TEST_P(Completions, OfferNothingAndSayNothingWhereThereIsNoDaemon) {
  for (const auto& [line, words] :
       offered({"reforkctl drain ", "reforkctl stop ", "reforkctl failures show ", "reforkctl why "}))
    EXPECT_THAT(words, IsEmpty()) << line;
}

TEST_P(Completions, OfferTheServicesWorkersAndFailuresOfTheDaemonThatIsAsked) {
  const Daemon daemon = web_of("http_asio", {"--workers", "2"});
  EXPECT_EQ(http_get(daemon.address(), "/error").status, 500);
  const auto failures = complete_failures(daemon, 1);
  ASSERT_TRUE(wait_until_settled(daemon));
  const std::string at = "reforkctl --control " + daemon.control() + " ";
  auto offers = offered({at + "scale ", at + "drain ", at + "why ", at + "send w", at + "failures show ",
                         at + "failures clear ", at + "failures --service w", at + "scale web ",
                         "reforkctl stop --control=" + daemon.control() + " "});
  EXPECT_THAT(offers[at + "scale "], ElementsAre("web"));
  EXPECT_THAT(offers[at + "drain "], UnorderedElementsAre("web/0", "web/1"));
  EXPECT_THAT(offers[at + "why "], UnorderedElementsAre("web", "web/0", "web/1"));
  EXPECT_THAT(offers[at + "send w"], UnorderedElementsAre("web", "web/0", "web/1"));
  EXPECT_THAT(offers[at + "failures show "], ElementsAre(failures[0]["id"].get<std::string>()));
  EXPECT_THAT(offers[at + "failures clear "], ElementsAre("web"));
  EXPECT_THAT(offers[at + "failures --service w"], ElementsAre("web"));
  EXPECT_THAT(offers[at + "scale web "], IsEmpty()) << "a number comes here";
  EXPECT_THAT(offers["reforkctl stop --control=" + daemon.control() + " "], ElementsAre("web"));
}

TEST_P(Completions, OfferTheIdOfAWorkerWhereANumberWasBegun) {
  const Daemon daemon = web_of("http_asio", {"--workers", "1"});
  EXPECT_THAT(offered("reforkctl --control " + daemon.control() + " drain 1"), Contains("1"));
}

}  // namespace
}  // namespace refork::test
