// The pages of the guides: what they show is what there is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>

#include "e2e/scene.h"
#include "guides/pages.h"

namespace refork::test {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReforkd = "reforkd run ";

std::string contents(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string trimmed(const std::string& line) {
  const auto first = line.find_first_not_of(' ');
  return first == line.npos ? "" : line.substr(first);
}

std::vector<std::string> pages_with_a_program() {
  std::vector<std::string> all;
  for (const auto& file : guide_pages())
    if (read_page(file).program() != nullptr) all.push_back(file);
  return all;
}

std::string name_of(const testing::TestParamInfo<std::string>& tested) {
  return fs::path(tested.param).stem().string();
}

class GuidePage : public testing::TestWithParam<std::string> {};
std::vector<std::string> all_pages() {
  std::vector<std::string> all = guide_pages();
  all.emplace_back("docs/tutorial.md");
  return all;
}
INSTANTIATE_TEST_SUITE_P(Each, GuidePage, testing::ValuesIn(all_pages()), name_of);

TEST_P(GuidePage, EveryBlockIsOfAKnownUse) {
  for (const Block& block : read_page(GetParam()).blocks) EXPECT_NE(block.use, Use::none) << block.opening;
}

TEST_P(GuidePage, EveryExcerptIsPartOfItsProgram) {
  const Page page = read_page(GetParam());
  for (const Block& block : page.blocks) {
    if (block.use != Use::excerpt) continue;
    ASSERT_TRUE(page.program() && page.program()->name == block.name) << block.opening;
    const auto program = lines(page.program()->text);
    auto next = program.begin();
    for (const std::string& line : lines(block.text)) {
      next = std::find_if(next, program.end(),
                          [&](const std::string& other) { return trimmed(other) == trimmed(line); });
      ASSERT_NE(next, program.end()) << line << " is not there, or not in this order";
      ++next;
    }
  }
}

// As the places of a page are named in links: "What it costs" is #what-it-costs.
std::string anchor(std::string heading) {
  for (char& c : heading) c = c == ' ' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::erase_if(heading, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)) && c != '-'; });
  return '#' + heading;
}

TEST_P(GuidePage, EveryLinkLeadsSomewhere) {
  static const std::regex link(R"(\]\(([^)\s:#]+\.[a-z]+)(#[^)]*)?\))");
  static const std::regex heading("(^|\n)#+ ([^\n]+)");
  const std::string text = read_page(GetParam()).text;
  const fs::path folder = (fs::path(REFORK_SOURCE_DIR) / GetParam()).parent_path();
  for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it) {
    const fs::path file = folder / (*it)[1].str();
    EXPECT_TRUE(fs::exists(file)) << it->str();
    if ((*it)[2].length() == 0) continue;
    const std::string other = contents(file);
    std::set<std::string> places;
    for (std::sregex_iterator found(other.begin(), other.end(), heading); found != end; ++found)
      places.insert(anchor((*found)[2]));
    EXPECT_THAT(places, testing::Contains((*it)[2].str())) << it->str();
  }
}

TEST_P(GuidePage, EveryBenchmarkItNamesExists) {
  static const std::regex name("\\b(Plain|Domain|Request|Throw)[A-Z][A-Za-z]+\\b");
  const std::string bench = contents(fs::path(REFORK_SOURCE_DIR) / "bench/domain_bench.cc");
  const std::string text = read_page(GetParam()).text;
  for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it)
    EXPECT_NE(bench.find("REFORK_BENCHMARK(" + it->str() + ")"), bench.npos) << it->str();
}

// The one kind of commands that is not run: they take minutes.
TEST_P(GuidePage, EveryProgramThatMeasuresExists) {
  static const std::regex program("bin/bench/([a-z_]+)");
  for (const Block& block : read_page(GetParam()).blocks) {
    if (block.use != Use::bench) continue;
    for (std::sregex_iterator it(block.text.begin(), block.text.end(), program), end; it != end; ++it)
      EXPECT_TRUE(fs::exists(fs::path(REFORK_SOURCE_DIR) / "bench" / ((*it)[1].str() + ".cc"))) << it->str();
  }
}

TEST(GuideIndex, NamesEveryGuide) {
  const std::string index = read_page("docs/guides/README.md").text;
  const std::string readme = read_page("README.md").text;
  EXPECT_NE(readme.find("](docs/tutorial.md)"), readme.npos);
  for (const auto& file : pages_with_a_program()) {
    EXPECT_NE(index.find("](" + fs::path(file).filename().string() + ")"), index.npos) << file;
    EXPECT_NE(readme.find("](" + file + ")"), readme.npos) << file;
  }
}

TEST(GuideIndex, EveryProgramIsCompiledAndRun) {
  const std::string build = contents(fs::path(REFORK_SOURCE_DIR) / "tests/guides/CMakeLists.txt");
  const std::string tests = contents(fs::path(REFORK_SOURCE_DIR) / "tests/guides/guides_test.cc") +
                            contents(fs::path(REFORK_SOURCE_DIR) / "tests/guides/tutorial_test.cc");
  std::vector<std::string> files = pages_with_a_program();
  files.insert(files.end(), {"README.md", "docs/tutorial.md"});
  for (const auto& file : files)
    for (const Block& block : read_page(file).blocks)
      if (block.use == Use::program) {
        EXPECT_NE(build.find("guide_program(" + block.name + ' ' + file), build.npos) << block.opening;
        EXPECT_NE(tests.find(block.name + '"'), tests.npos) << block.opening;
      }
}

TEST(GuideIndex, TheCppOfTheReadmeIsAProgram) {
  for (const Block& block : read_page("README.md").blocks)
    EXPECT_TRUE(block.language != "cpp" || block.use == Use::program) << block.opening;
}

TEST(GuideIndex, ABlockWithoutAUseIsNoticed) {
  const auto blocks = read_blocks("```sh\nls\n```\n```cpp program=a_server\nint main() {}\n```\n");
  ASSERT_EQ(blocks.size(), 2U);
  EXPECT_EQ(blocks[0].use, Use::none);
  EXPECT_EQ(blocks[1].use, Use::program);
  EXPECT_EQ(blocks[1].name, "a_server");
  EXPECT_EQ(blocks[1].text, "int main() {}\n");
}

TEST(GuideIndex, OutputIsComparedLineByLine) {
  EXPECT_TRUE(matches("a\n…\nd\n", "a\nb\nc\nd\n"));
  EXPECT_TRUE(matches("a\n…\n", "a\n"));
  EXPECT_TRUE(matches("…x…\n", "1 x 2\r\n"));
  EXPECT_FALSE(matches("…x…\n", "1\nx\n"));
  EXPECT_FALSE(matches("a\n…\nd\n", "a\nb\nc\n"));
  EXPECT_FALSE(matches("a\n", "a\nb\n"));
}

// --- what a reader types

class GuideCommands : public testing::TestWithParam<std::string> {
 protected:
  // reforkd itself runs beside the other commands, on a port of its own, with the program as ./server.
  static Daemon start(const Block& block, const std::string& program) {
    std::istringstream in(block.text.substr(kReforkd.size()));
    std::vector<std::string> words;
    for (std::string word; in >> word;) {
      if (word.starts_with("tcp://")) word = "tcp://127.0.0.1:0";
      if (word == "./server") word = built_program("tests/guides/" + program);
      words.push_back(word);
    }
    Daemon daemon = Daemon::run(words);
    EXPECT_TRUE(wait_until_settled(daemon)) << daemon.log();
    return daemon;
  }

  // As many failures as `happened` are waited for; ID is the newest.
  static std::string type(const Daemon& daemon, std::string commands, std::size_t happened) {
    if (commands.find("reforkctl failures") != commands.npos) {
      const auto failures = complete_failures(daemon, happened);
      const std::string id = failures.empty() ? "none" : failures[0]["id"].get<std::string>();
      commands = std::regex_replace(commands, std::regex("\\bID\\b"), id);
    }
    commands = std::regex_replace(commands, std::regex("\\b8080\\b"), std::to_string(daemon.address().port));
    Process::Options options;
    options.argv = {"bash", "-ec", commands};
    const fs::path programs = fs::path(built_program("reforkctl")).parent_path();
    options.environment = {"PATH=" + programs.string() + ":" + std::getenv("PATH"),
                           "REFORK_CONTROL=" + daemon.control()};
    Process process(std::move(options));
    const auto exit = process.wait();
    EXPECT_TRUE(exit && exit->code == 0) << commands << process.errors();
    return process.output();
  }
};
INSTANTIATE_TEST_SUITE_P(Each, GuideCommands, testing::ValuesIn(pages_with_a_program()), name_of);

TEST_P(GuideCommands, DoWhatThePageShows) {
  const Page page = read_page(GetParam());
  std::optional<Daemon> daemon;
  std::string output;
  int compared = 0;
  std::size_t shown = 0;  // records: each is of a failure of its own
  for (const Block& block : page.blocks) {
    if (block.use == Use::run && block.text.starts_with(kReforkd)) {
      daemon.emplace(start(block, page.program()->name));
    } else if (block.use == Use::run) {
      ASSERT_TRUE(daemon) << "what is there to talk to? " << block.text;
      output = type(*daemon, block.text, shown + 1);
      if (block.text.find("failures show ID") != block.text.npos) ++shown;
    } else if (block.use == Use::output) {
      EXPECT_TRUE(matches(block.text, output)) << "shown:\n" << block.text << "found:\n" << output;
      ++compared;
    }
  }
  EXPECT_GE(compared, 2) << "the answer, and the record";
}

#ifdef REFORK_PKG_CONFIG_PATH  // a sanitized library needs its users sanitized
TEST_P(GuideCommands, BuildTheProgram) {
  const Page page = read_page(GetParam());
  std::string commands;
  for (const Block& block : page.blocks)
    if (block.use == Use::build) commands += block.text;
  ASSERT_FALSE(commands.empty());
  const TempDir directory;
  std::ofstream(directory.file(page.program()->language == "c" ? "server.c" : "server.cc"))
      << page.program()->text;
  Process::Options options;
  options.argv = {"bash", "-ec", commands};
  options.environment = {"PKG_CONFIG_PATH=" REFORK_PKG_CONFIG_PATH};
  options.directory = directory.path();
  Process process(std::move(options));
  const auto exit = process.wait(std::chrono::minutes(4));
  EXPECT_TRUE(exit && exit->code == 0) << process.errors();
  EXPECT_TRUE(fs::exists(directory.file("server")));
}
#endif

}  // namespace
}  // namespace refork::test
