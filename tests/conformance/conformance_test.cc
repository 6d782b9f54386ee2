// The table of what refork keeps of the cluster pattern cannot rot: each row is there once, and says which
// tests hold it or why there are none; and each test it names exists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace refork {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFeatures = 49;  // C1 to C49
constexpr std::size_t kCases = 116;
const fs::path kTests = REFORK_TESTS_DIR;

std::string contents(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Row {
  std::string id, what, how;
};

std::vector<Row> rows() {
  static const std::regex row(R"(^\| ([A-Za-z0-9-]+) \| ([^|]+) \| ([^|]+) \|$)");
  std::vector<Row> all;
  std::ifstream in(kTests / "conformance/cluster.md");
  std::string line;
  while (std::getline(in, line)) {
    if (!line.starts_with("|") || line.starts_with("| row |") || line.starts_with("| --- |")) continue;
    std::smatch found;
    EXPECT_TRUE(std::regex_match(line, found, row)) << "three cells of one line each: " << line;
    if (!found.empty()) all.push_back({found[1], found[2], found[3]});
  }
  return all;
}

std::vector<std::string> tests_named_in(const std::string& cell) {
  static const std::regex name("`([A-Z][A-Za-z0-9]*\\.[A-Za-z0-9]+)`");
  std::vector<std::string> all;
  for (std::sregex_iterator it(cell.begin(), cell.end(), name), end; it != end; ++it) all.push_back((*it)[1]);
  return all;
}

std::set<std::string> tests_in_the_tree() {
  static const std::regex test(R"(\bTEST(?:_F|_P)?\(\s*([A-Za-z0-9]+),\s*([A-Za-z0-9]+)\s*\))");
  std::set<std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(kTests)) {
    if (entry.path().extension() != ".cc") continue;
    const std::string source = contents(entry.path());
    for (std::sregex_iterator it(source.begin(), source.end(), test), end; it != end; ++it)
      all.insert((*it)[1].str() + "." + (*it)[2].str());
  }
  return all;
}

TEST(Conformance, EveryRowIsThereOnce) {
  std::map<std::string, int> seen;
  for (const Row& row : rows()) EXPECT_EQ(++seen[row.id], 1) << row.id;
  for (std::size_t i = 1; i <= kFeatures; ++i)
    EXPECT_TRUE(seen.contains("C" + std::to_string(i))) << "C" << i;
  EXPECT_EQ(seen.size(), kFeatures + kCases);
}

TEST(Conformance, EveryRowHasATestOrAReason) {
  for (const Row& row : rows()) {
    const bool reason = row.how.starts_with("Not here: ") || row.how.starts_with("Nothing to hold it to: ");
    EXPECT_TRUE(reason || !tests_named_in(row.how).empty()) << row.id << ": " << row.how;
  }
}

TEST(Conformance, EveryTestNamedExists) {
  const auto known = tests_in_the_tree();
  ASSERT_GT(known.size(), 100U);
  for (const Row& row : rows())
    for (const auto& name : tests_named_in(row.how))
      EXPECT_TRUE(known.contains(name)) << row.id << ": " << name;
}

}  // namespace
}  // namespace refork
