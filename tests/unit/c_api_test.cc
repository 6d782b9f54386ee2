// That the C program which tests the C API names all of it, so that no function is forgotten there.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

namespace {

const std::string source_dir = REFORK_SOURCE_DIR;

std::string contents(const std::string& path) {
  std::ifstream file(source_dir + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> functions_of(const std::string& header) {
  static const std::regex declaration(R"(REFORK_API[^;(]*[ *](refork_[a-z_]+)\()");
  std::vector<std::string> names;
  const std::string text = contents(header);
  for (std::sregex_iterator at(text.begin(), text.end(), declaration), end; at != end; ++at)
    names.push_back((*at)[1]);
  return names;
}

TEST(CApi, TheTestInCCallsEveryFunction) {
  const auto functions = functions_of("/lib/include/refork/refork.h");
  ASSERT_GT(functions.size(), 60U);
  const std::string program = contents("/tests/unit/c_api_test.c");
  for (const auto& function : functions)
    EXPECT_NE(program.find(function + "("), std::string::npos) << function;
}

}  // namespace
