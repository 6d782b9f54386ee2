// Files: the shipped example, and the ways in which there is nothing to read.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/config.h"

namespace refork::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::string example = std::string(REFORK_SOURCE_DIR) + "/packaging/refork.json.example";

std::vector<std::string> texts(const Outcome& outcome) {
  std::vector<std::string> out;
  for (const Problem& problem : outcome.problems) out.push_back(problem.text());
  return out;
}

std::string read_all(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

class ConfigLoad : public testing::Test {
 protected:
  ConfigLoad() {
    std::string name = testing::TempDir() + "refork-config-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~ConfigLoad() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& text) {
    std::string file = directory_ + "/refork.json";
    std::ofstream(file) << text;
    return file;
  }

  std::string directory_;
};

TEST_F(ConfigLoad, TheShippedExampleIsRight) {
  const Outcome outcome = load(example);
  EXPECT_THAT(texts(outcome), IsEmpty());
  EXPECT_EQ(outcome.config.services.size(), 2U);
}

TEST_F(ConfigLoad, AMissingFileADirectoryAndAFileInTheWayAreToldApart) {
  EXPECT_THAT(texts(load(directory_ + "/none")), ElementsAre(directory_ + "/none: there is no such file"));
  EXPECT_THAT(texts(load(directory_)), ElementsAre(directory_ + ": this is a directory; expected a file"));
  const std::string file = write("{}");
  EXPECT_THAT(texts(load(file + "/x")), ElementsAre(file + "/x: cannot be read: Not a directory"));
}

TEST_F(ConfigLoad, AFileWithoutPermissionIsToldAsSuch) {
  const std::string file = write("{}");
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  ASSERT_EQ(::chmod(directory_.c_str(), 0711), 0);
  constexpr uid_t nobody = 65534;
  const bool root = ::geteuid() == 0;
  ASSERT_TRUE(!root || ::seteuid(nobody) == 0);
  const Outcome outcome = load(file);
  ASSERT_TRUE(!root || ::seteuid(0) == 0);
  EXPECT_THAT(texts(outcome), ElementsAre(file + ": no permission to read this file"));
}

TEST_F(ConfigLoad, AFileMayBeAsLargeAsTheLimitAndNoLarger) {
  const std::string service = R"({"services": {"a": {"command": ["x"]}}})";
  EXPECT_THAT(texts(load(write(service + std::string(max_file_size - service.size(), ' ')))), IsEmpty());
  const std::string file = write(service + std::string(max_file_size + 1 - service.size(), ' '));
  EXPECT_THAT(texts(load(file)), ElementsAre(file + ": expected a file of at most 1048576 bytes"));
}

// Whatever happens to a byte of the example, the mistake is told inside the text; and no beginning of it
// passes.
TEST_F(ConfigLoad, ADamagedFileIsToldWhereItIsDamaged) {
  const std::string whole = read_all(example);
  const std::string damage("\"{],\0\n\\7\xFF", 9);
  const auto lines = static_cast<std::size_t>(std::count(whole.begin(), whole.end(), '\n')) + 2;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = damage[i % damage.size()];
    for (const Problem& problem : parse(damaged, "f").problems) {
      ASSERT_TRUE(problem.line >= 1 && problem.line <= lines && problem.column >= 1) << problem.text();
      ASSERT_FALSE(problem.what.empty());
    }
  }
  const std::size_t end = whole.rfind('}');
  for (std::size_t i = 0; i <= end; i += 7) ASSERT_FALSE(parse(whole.substr(0, i), "f").ok()) << i;
}

}  // namespace
}  // namespace refork::config
