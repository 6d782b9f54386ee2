// The manual pages: each example of theirs does what the page shows, each declaration is the header's, and
// each reference leads to a page.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>

#include "e2e/scene.h"
#include "guides/pages.h"
#include "manuals/manual.h"

namespace refork::test {
namespace {

namespace fs = std::filesystem;

// The server of pages that have none of their own.
constexpr const char* kServer = "librefork_example";

std::string contents(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

std::string name_of(const testing::TestParamInfo<std::string>& tested) {
  std::string name = tested.param;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

class ManualPage : public testing::TestWithParam<std::string> {
 protected:
  const Manual page_ = read_manual(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Each, ManualPage, testing::ValuesIn(manual_names()), name_of);

TEST_P(ManualPage, EveryExampleSaysWhatItIsFor) {
  for (const Example& example : page_.examples)
    EXPECT_NE(example.purpose, Purpose::unknown) << GetParam() << ':' << example.line << '\n' << example.text;
}

TEST_P(ManualPage, HasANameAndSeesOthersAlso) {
  EXPECT_TRUE(page_.has(".Sh NAME"));
  EXPECT_TRUE(page_.has(".Sh SEE ALSO"));
}

// Pages that are not ours are those of the system.
TEST_P(ManualPage, EveryReferenceLeadsToAPage) {
  static const std::regex reference("(?:^|\n)\\.(?:It )?Xr (\\S+) ([1-8])");
  static const std::set<std::string> elsewhere = {"sd_listen_fds.3",
                                                  "sd_notify.3",
                                                  "setsid.2",
                                                  "timeout.1",
                                                  "systemd.resource-control.5",
                                                  "setrlimit.2",
                                                  "systemd.1",
                                                  "systemctl.1",
                                                  "journalctl.1",
                                                  "busctl.1",
                                                  "systemd.exec.5",
                                                  "longjmp.3",
                                                  "pthread_exit.3",
                                                  "pthread_cancel.3",
                                                  "systemd.unit.5",
                                                  "systemd.service.5",
                                                  "sysusers.d.5",
                                                  "systemd.socket.5",
                                                  "systemd-analyze.1",
                                                  "tmpfiles.d.5",
                                                  "dbus-daemon.1",
                                                  "systemd-journald.service.8"};
  for (std::sregex_iterator it(page_.text.begin(), page_.text.end(), reference), end; it != end; ++it) {
    const std::string page = (*it)[1].str() + '.' + (*it)[2].str();
    const bool ours = page == "refork-protocol.7" || fs::exists(fs::path(REFORK_SOURCE_DIR) / "man" / page);
    EXPECT_TRUE(ours || elsewhere.count(page)) << page;
  }
}

// --- what is declared

std::string normal(const std::string& code) {
  static const std::regex comment("//[^\n]*|/\\*[^]*?\\*/"), blanks("\\s+"), open("\\( ");
  return std::regex_replace(std::regex_replace(std::regex_replace(code, comment, " "), blanks, " "), open,
                            "(");
}

TEST_P(ManualPage, DeclaresWhatTheHeadersDo) {
  for (const Example& example : page_.examples) {
    if (example.purpose != Purpose::declared) continue;
    const fs::path header = fs::path(REFORK_SOURCE_DIR) / "lib/include" / example.argument;
    ASSERT_TRUE(fs::exists(header)) << header;
    const std::string declared = normal(contents(header));
    std::istringstream in(normal(example.text));
    for (std::string one; std::getline(in, one, ';');) {
      one.erase(0, one.find_first_not_of(' '));
      EXPECT_NE(declared.find(one), declared.npos) << one << "\nis not in " << example.argument;
    }
  }
}

// --- what is run

class ManualExamples : public testing::TestWithParam<std::string> {
 protected:
  std::string program_ = kServer;
  std::optional<Daemon> daemon_;
  std::size_t shown_ = 0;  // records: each is of a failure of its own
  const TempDir directory_;

  std::string built() const { return built_program("tests/manuals/" + program_); }

  void take(const Example& program) {
    program_ = program.argument;
    daemon_.reset();
    const bool c = program.purpose == Purpose::c_program;
    std::ofstream(directory_.file(c ? "server.c" : "server.cc")) << program.text;
  }

  void print(const Example& example) const {
    Process process({{built()}, {}, {}, {}, {}, {}});
    const auto exit = process.wait();
    EXPECT_TRUE(exit && exit->code == 0) << process.errors();
    EXPECT_EQ(process.output(), example.text);
  }

  // A configuration of the page with a server that is there, on a port that is free, as a user that can run
  // it.
  std::string configured(const std::string& text) const {
    const std::string user = ::getuid() == 0 ? ::getpwuid(0)->pw_name : "";
    std::string config =
        std::regex_replace(text, std::regex("\"tcp://[^\"]*:\\d+\""), "\"tcp://127.0.0.1:0\"");
    config = std::regex_replace(config, std::regex("\"/usr/lib/web/server\""), '"' + built() + '"');
    return std::regex_replace(config, std::regex("\"user\": \"[^\"]*\",?"),
                              user.empty() ? "" : "\"user\": \"" + user + "\",");
  }

  // reforkd itself runs beside the other commands, with the program as ./server.
  void start(const std::string& command) {
    daemon_.reset();
    std::istringstream in(command);
    std::vector<std::string> words;
    for (std::string word; in >> word;) {
      if (word.starts_with("tcp://")) word = "tcp://127.0.0.1:0";
      if (word == "./server") word = built();
      if (word != "\\") words.push_back(word);
    }
    words.erase(words.begin(), words.begin() + 2);  // reforkd run
    daemon_.emplace(Daemon::run(words));
    EXPECT_TRUE(all_serve()) << command << '\n' << daemon_->log();
  }

  // Every service of the daemon, whatever their names are.
  bool all_serve() const {
    return wait_until([&] {
      const auto services = daemon_->status()["services"];
      return !services.empty() &&
             std::ranges::all_of(services, [](const auto& service) { return service["state"] == "running"; });
    });
  }

  // The file that the commands after it call /etc/refork/refork.json; reforkd runs it.
  void configure(const Example& example) {
    daemon_.reset();
    daemon_.emplace(Daemon::with_config(configured(example.text)));
    EXPECT_TRUE(all_serve()) << example.text << daemon_->log();
    std::ofstream(directory_.file("refork.json")) << configured(example.text);
  }

  // As many failures as were shown, and one more, are waited for; ID is the newest.
  std::string as_typed(std::string command) {
    if (daemon_ && command.find("reforkctl failures") != command.npos) {
      const auto failures = complete_failures(*daemon_, shown_ + 1);
      const std::string id = failures.empty() ? "none" : failures[0]["id"].get<std::string>();
      command = std::regex_replace(command, std::regex("\\bID\\b"), id);
    }
    if (command.find("failures show ID") != command.npos) ++shown_;
    if (daemon_ && command.find("8080") != command.npos)
      command = replaced(std::move(command), "8080", std::to_string(daemon_->address().port));
    return replaced(std::move(command), "/etc/refork/refork.json", directory_.file("refork.json"));
  }

  void type(const Command& command) {
    if (command.text.starts_with("reforkd run ")) return start(command.text);
    if (command.text == "reforkd --config /etc/refork/refork.json") {
      EXPECT_TRUE(fs::exists(directory_.file("refork.json"))) << "what is in it?";
      return;
    }
    if (command.text.find("pkg-config") != command.text.npos && !can_build()) return;
    Process::Options options;
    options.argv = {"bash", "-ec", as_typed(replaced(command.text, "curl ", "curl -s "))};
    const fs::path programs = fs::path(built_program("reforkctl")).parent_path();
    options.environment = {"PATH=" + programs.string() + ":" + std::getenv("PATH"), "TZ=UTC"};
    if (daemon_) options.environment.push_back("REFORK_CONTROL=" + daemon_->control());
#ifdef REFORK_PKG_CONFIG_PATH
    options.environment.push_back("PKG_CONFIG_PATH=" REFORK_PKG_CONFIG_PATH);
#endif
    options.directory = directory_.path();
    Process process(std::move(options));
    const auto exit = process.wait(std::chrono::minutes(1));
    EXPECT_TRUE(exit && exit->code == 0) << "$ " << command.text << '\n' << process.errors();
    if (command.output.empty()) return;
    const std::string pattern = replaced(command.output, "...", "…");
    EXPECT_TRUE(matches(pattern, process.output())) << "$ " << command.text << "\nshown:\n"
                                                    << command.output << "found:\n"
                                                    << process.output();
  }

  static bool can_build() {
#ifdef REFORK_PKG_CONFIG_PATH
    return true;
#else
    return false;  // a sanitized library needs its users sanitized
#endif
  }
};
INSTANTIATE_TEST_SUITE_P(Each, ManualExamples, testing::ValuesIn(manual_names()), name_of);

TEST_P(ManualExamples, DoWhatThePageShows) {
  for (const Example& example : read_manual(GetParam()).examples) {
    SCOPED_TRACE(GetParam() + ':' + std::to_string(example.line));
    switch (example.purpose) {
      case Purpose::program:
      case Purpose::c_program:
        take(example);
        break;
      case Purpose::prints:
        print(example);
        break;
      case Purpose::run:
        for (const Command& command : commands_of(example.text)) type(command);
        break;
      case Purpose::configuration:
        configure(example);
        break;
      case Purpose::system:
      case Purpose::declared:
      case Purpose::unknown:
        break;
    }
  }
}

TEST(ManualExample, WithoutAPurposeIsNoticed) {
  const auto examples = read_examples(
      ".Bd -literal\nls\n.Ed\n.Dl $ ls\n.\\\" example: program a_server\n.Bd -literal -offset indent\n"
      "int main() { return \\(aq\\en\\(aq; }\n\\&.x\n.Ed\n");
  ASSERT_EQ(examples.size(), 3U);
  EXPECT_EQ(examples[0].purpose, Purpose::unknown);
  EXPECT_EQ(examples[1].purpose, Purpose::unknown);
  EXPECT_EQ(examples[1].text, "$ ls\n");
  EXPECT_EQ(examples[2].purpose, Purpose::program);
  EXPECT_EQ(examples[2].argument, "a_server");
  EXPECT_EQ(examples[2].text, "int main() { return '\\n'; }\n.x\n");
}

TEST(ManualExample, ConsistsOfCommandsAndWhatTheyPrint) {
  const auto commands = commands_of("$ one \\\n  more\nprinted\n# two\n");
  ASSERT_EQ(commands.size(), 2U);
  EXPECT_EQ(commands[0].text, "one \\\n  more");
  EXPECT_EQ(commands[0].output, "printed\n");
  EXPECT_FALSE(commands[0].as_root);
  EXPECT_EQ(commands[1].text, "two");
  EXPECT_TRUE(commands[1].as_root);
}

TEST(ManualExample, EveryProgramIsCompiled) {
  const std::string build = contents(fs::path(REFORK_SOURCE_DIR) / "tests/manuals/CMakeLists.txt");
  for (const auto& name : manual_names())
    for (const Example& example : read_manual(name).examples) {
      const bool c = example.purpose == Purpose::c_program;
      if (!c && example.purpose != Purpose::program) continue;
      const std::string call = "manual_program(" + example.argument + (c ? " c " : " cc ") + name;
      EXPECT_NE(build.find(call), build.npos) << name;
    }
}

}  // namespace
}  // namespace refork::test
