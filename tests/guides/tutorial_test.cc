// docs/tutorial.md, step by step, as a reader goes through it. What needs packages or systemd is left to a
// booted system; here the server is the program of the page that was compiled with the rest, and reforkd is
// started where the page starts its unit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "e2e/scene.h"
#include "guides/pages.h"

namespace refork::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfiguration = "/etc/refork/refork.json";
constexpr const char* kServer = "/usr/local/lib/tutorial/server";

class Tutorial : public testing::Test {
 protected:
  const TempDir directory_;
  const std::string address_ = free_tcp_address();
  std::optional<Daemon> daemon_;
  std::string configuration_;
  std::string output_;
  int compared_ = 0;

  // A path as it is here.
  std::string here(std::string text) const {
    const std::string file =
        daemon_ ? daemon_->directory().file("refork.json") : directory_.file("refork.json");
    text = std::regex_replace(text, std::regex(kConfiguration), file);
    text = std::regex_replace(text, std::regex(kServer), directory_.file("installed"));
    return std::regex_replace(text, std::regex("127\\.0\\.0\\.1:8080"), address_.substr(6));
  }

  void save(const Block& program) const {
    std::ofstream(directory_.file("server.cc")) << program.text;
    // As `install` does it: the file of the running program is not written to.
    fs::remove(directory_.file("installed"));
    const bool known = program.name == "tutorial_unlinked" || program.name == "tutorial_linked";
    ASSERT_TRUE(known) << program.opening;
    fs::copy_file(built_program("tests/guides/" + program.name), directory_.file("installed"));
  }

  void build([[maybe_unused]] const Block& commands) {
#ifdef REFORK_PKG_CONFIG_PATH  // a sanitized library needs its users sanitized
    type(commands.text);
    EXPECT_TRUE(fs::exists(directory_.file("server")));
#endif
  }

  void configure(const Block& block) {
    configuration_ = std::regex_replace(here(block.text), std::regex(",\\s*\"user\": \"[^\"]*\""), "");
    const fs::path file = here(kConfiguration);
    std::ofstream(file) << configuration_;
  }

  void start() {
    daemon_.emplace(Daemon::with_config(configuration_));
    EXPECT_TRUE(wait_until_settled(*daemon_)) << daemon_->log();
  }

  // ID is the newest failure; one that has just been shown is waited for.
  void type(std::string commands) {
    EXPECT_TRUE(!daemon_ || wait_until_settled(*daemon_));  // a reader is slower than that
    if (commands.find("reforkctl failures") != commands.npos) {
      const std::size_t happened = daemon_->failures().size();
      const auto failures = complete_failures(*daemon_, std::max<std::size_t>(happened, 1));
      ASSERT_FALSE(failures.empty());
      commands = std::regex_replace(commands, std::regex("\\bID\\b"), failures[0]["id"].get<std::string>());
    }
    Process::Options options;
    options.argv = {"bash", "-ec", here(commands)};
    options.directory = directory_.path();
    const fs::path programs = fs::path(built_program("reforkctl")).parent_path();
    options.environment = {"PATH=" + programs.string() + ":" + std::getenv("PATH")};
    if (daemon_) options.environment.push_back("REFORK_CONTROL=" + daemon_->control());
#ifdef REFORK_PKG_CONFIG_PATH
    options.environment.push_back("PKG_CONFIG_PATH=" REFORK_PKG_CONFIG_PATH);
#endif
    Process process(std::move(options));
    const auto exit = process.wait(std::chrono::minutes(2));
    EXPECT_TRUE(exit && exit->code == 0) << commands << process.errors();
    output_ = process.output();
  }

  void compare(const Block& shown) {
    EXPECT_TRUE(matches(here(shown.text), output_)) << "shown:\n" << shown.text << "found:\n" << output_;
    ++compared_;
  }
};

TEST_F(Tutorial, GoesAsThePageSays) {
  for (const Block& block : read_page("docs/tutorial.md").blocks) {
    switch (block.use) {
      case Use::program:
        save(block);
        break;
      case Use::build:
        build(block);
        break;
      case Use::configuration:
        configure(block);
        break;
      case Use::start:
        start();
        break;
      case Use::run:
        type(block.text);
        break;
      case Use::output:
        compare(block);
        break;
      default:
        break;
    }
  }
  EXPECT_GE(compared_, 7);
}

}  // namespace
}  // namespace refork::test
