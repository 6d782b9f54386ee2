// The catalog of the journal against the table of events, both ways.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "core/event_types.h"

namespace refork::log {
namespace {

using ::testing::HasSubstr;

constexpr const char* catalog_file = REFORK_CATALOG;

// The entries of the file by their id.
std::map<std::string, std::string> read_catalog() {
  std::map<std::string, std::string> entries;
  std::ifstream file(catalog_file);
  std::string id;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) continue;
    if (line.starts_with("-- "))
      EXPECT_TRUE(entries.emplace(id = line.substr(3), "").second) << id << " stands there twice";
    else
      entries[id] += line + "\n";
  }
  entries.erase("");
  return entries;
}

TEST(Catalog, HasAnEntryForEachTypeOfEventAndNoOther) {
  std::set<std::string_view> described, known;
  const auto catalog = read_catalog();
  for (const auto& [id, text] : catalog) described.insert(id);
  for (const auto& kind : core::event_kinds) known.insert(kind.message_id);
  EXPECT_EQ(described, known);
}

TEST(Catalog, SaysOfEachEventWhatItIsAndWhereMoreIsToBeRead) {
  for (const auto& [id, text] : read_catalog()) {
    EXPECT_THAT(text, HasSubstr("Subject: ")) << id;
    EXPECT_THAT(text, HasSubstr("Defined-By: refork\n")) << id;
    EXPECT_THAT(text, HasSubstr("Documentation: man:")) << id;
    EXPECT_GT(text.size() - text.find("\n\n"), 80u) << id << " has a text";
  }
}

TEST(Catalog, TypesAndIdsAreDifferentFromEachOther) {
  std::set<std::string_view> names, ids;
  for (const auto& kind : core::event_kinds) {
    names.insert(kind.name);
    ids.insert(kind.message_id);
    EXPECT_EQ(kind.message_id.size(), 32u);
    EXPECT_EQ(kind.message_id.find_first_not_of("0123456789abcdef"), std::string_view::npos);
  }
  EXPECT_EQ(names.size(), core::event_kinds.size());
  EXPECT_EQ(ids.size(), core::event_kinds.size());
}

TEST(EventsOfTheManual, AreThoseOfTheTable) {
  std::ifstream page(REFORK_MANUAL);
  std::multiset<std::string> described, known;
  bool events = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with(".Sh ")) events = line == ".Sh EVENTS";
    if (events && line.starts_with(".It Cm ")) described.insert(line.substr(7));
  }
  for (const auto& kind : core::event_kinds) known.emplace(kind.name);
  EXPECT_EQ(described, known);
}

std::string output_of(const std::string& command) {
  std::string text(1 << 16, '\0');
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
  text.resize(std::fread(text.data(), 1, text.size(), pipe));
  ::pclose(pipe);
  return text;
}

TEST(Catalog, IsTakenByJournalctl) {
  std::string root = std::filesystem::temp_directory_path() / "refork-catalog-XXXXXX";
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  std::filesystem::create_directories(root + "/usr/lib/systemd/catalog");
  std::filesystem::create_directories(root + "/var/lib/systemd/catalog");
  std::filesystem::copy(catalog_file, root + "/usr/lib/systemd/catalog/refork.catalog");
  const std::string journalctl = "journalctl --root=" + root;
  EXPECT_EQ(output_of(journalctl + " --update-catalog"), "");
  const std::string list = output_of(journalctl + " --list-catalog");
  for (const auto& kind : core::event_kinds) EXPECT_THAT(list, HasSubstr(std::string(kind.message_id)));
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace refork::log
