// The tables of what refork keeps of the cluster and the domain pattern cannot rot: each row is there once,
// and says which tests hold it or why there are none; and each test it names exists. So does each test and
// fuzzer that a row of SECURITY.md names.
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

struct Table {
  const char* name;
  char letter;           // of its features: C1, C2, …
  std::size_t features;  // how many of them
  std::size_t cases;
};
void PrintTo(const Table& table, std::ostream* out) { *out << table.name; }

const fs::path kTests = REFORK_TESTS_DIR;

std::string contents(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Row {
  std::string id, what, how;
};

std::vector<Row> rows(const Table& table) {
  static const std::regex row(R"(^\| ([A-Za-z0-9-]+) \| ([^|]+) \| ([^|]+) \|$)");
  std::vector<Row> all;
  std::ifstream in(kTests / "conformance" / (std::string(table.name) + ".md"));
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

class Conformance : public testing::TestWithParam<Table> {};
INSTANTIATE_TEST_SUITE_P(Tables, Conformance,
                         testing::Values(Table{"cluster", 'C', 49, 116}, Table{"domain", 'D', 48, 70}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(Conformance, EveryRowIsThereOnce) {
  std::map<std::string, int> seen;
  for (const Row& row : rows(GetParam())) EXPECT_EQ(++seen[row.id], 1) << row.id;
  for (std::size_t i = 1; i <= GetParam().features; ++i) {
    const std::string id = GetParam().letter + std::to_string(i);
    EXPECT_TRUE(seen.contains(id)) << id;
  }
  EXPECT_EQ(seen.size(), GetParam().features + GetParam().cases);
}

TEST_P(Conformance, EveryRowHasATestOrAReason) {
  for (const Row& row : rows(GetParam())) {
    const bool reason = row.how.starts_with("Not here: ") || row.how.starts_with("Nothing to hold it to: ");
    EXPECT_TRUE(reason || !tests_named_in(row.how).empty()) << row.id << ": " << row.how;
  }
}

TEST_P(Conformance, EveryTestNamedExists) {
  const auto known = tests_in_the_tree();
  ASSERT_GT(known.size(), 100U);
  for (const Row& row : rows(GetParam()))
    for (const auto& name : tests_named_in(row.how))
      EXPECT_TRUE(known.contains(name)) << row.id << ": " << name;
}

// The rows of the tables whose last column is what shows it: the cell of each.
std::vector<std::string> shown_by() {
  std::vector<std::string> cells;
  std::ifstream in(kTests.parent_path() / "SECURITY.md");
  bool of_threats = false;
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with("| shown by |")) of_threats = true;
    if (!line.starts_with("|")) of_threats = false;
    if (of_threats && !line.starts_with("| it |") && !line.starts_with("| --- |"))
      cells.push_back(line.substr(line.rfind('|', line.size() - 2)));
  }
  return cells;
}

TEST(Security, EveryThreatIsMetByATestOrAFuzzerThatExists) {
  static const std::regex fuzzer("`([a-z]+_fuzz)`");
  const auto known = tests_in_the_tree();
  const auto cells = shown_by();
  EXPECT_GT(cells.size(), 30U);
  for (const auto& cell : cells) {
    const auto tests = tests_named_in(cell);
    for (const auto& name : tests) EXPECT_TRUE(known.contains(name)) << name;
    const std::sregex_iterator begin(cell.begin(), cell.end(), fuzzer), end;
    for (auto it = begin; it != end; ++it)
      EXPECT_TRUE(fs::exists(kTests / "fuzz" / ((*it)[1].str() + ".cc"))) << (*it)[1];
    EXPECT_TRUE(!tests.empty() || begin != end) << cell;
  }
}

TEST(Security, EveryFuzzerIsNamedAndHasACorpus) {
  const std::string text = contents(kTests.parent_path() / "SECURITY.md");
  for (const auto& entry : fs::directory_iterator(kTests / "fuzz")) {
    const std::string name = entry.path().stem();
    if (!name.ends_with("_fuzz")) continue;
    EXPECT_NE(text.find("`" + name + "`"), std::string::npos) << name;
    EXPECT_FALSE(fs::is_empty(kTests / "fuzz" / "corpus" / name.substr(0, name.rfind('_')))) << name;
  }
}

}  // namespace
}  // namespace refork
