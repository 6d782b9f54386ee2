// Counts the includes of the tree against the table of layers in ARCHITECTURE.md.

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace refork {
namespace {

namespace fs = std::filesystem;
const fs::path source_dir = REFORK_SOURCE_DIR;

using Names = std::set<std::string>;
struct Layer {
  Names may_include, may_name;
};
using Table = std::map<std::string, Layer>;

std::string trimmed(std::string text) {
  const auto first = text.find_first_not_of(" \t");
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (std::size_t end; (end = text.find(at, start)) != text.npos; start = end + 1)
    parts.push_back(trimmed(text.substr(start, end - start)));
  parts.push_back(trimmed(text.substr(start)));
  return parts;
}

Names names(const std::string& cell) {
  Names all;
  for (const auto& name : split(cell, ','))
    if (!name.empty()) all.insert(name);
  return all;
}

Table read_table() {
  Table table;
  std::ifstream file(source_dir / "ARCHITECTURE.md");
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    const auto cells = split(line, '|');
    if (inside && cells.size() != 5) break;
    if (inside && cells[1] != "---") table[cells[1]] = {names(cells[2]), names(cells[3])};
    inside = inside || line == "| layer | may include | may name |";
  }
  return table;
}

bool is_source(const fs::path& path) {
  static const Names extensions = {".h", ".hpp", ".cc", ".c", ".in"};
  return extensions.count(path.extension()) > 0;
}

struct Include {
  std::string layer, file, target;
  bool quoted;
};

void read_includes(const std::string& layer, const fs::path& path, std::vector<Include>& all) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    line = trimmed(line);
    if (line.rfind("#", 0) != 0 || trimmed(line.substr(1)).rfind("include", 0) != 0) continue;
    const auto open = line.find_first_of("<\"");
    const auto close = line.find_first_of(">\"", open + 1);
    if (open == line.npos || close == line.npos) continue;
    all.push_back(
        {layer, fs::relative(path, source_dir), line.substr(open + 1, close - open - 1), line[open] == '"'});
  }
}

// The folders of the tree, and the layer each is.
std::map<std::string, fs::path> folders() {
  std::map<std::string, fs::path> all = {{"refork", source_dir / "lib/include/refork"},
                                         {"ctl", source_dir / "ctl"},
                                         {"main", source_dir / "daemon"}};
  for (const char* parent : {"lib/src", "daemon"})
    for (const auto& entry : fs::directory_iterator(source_dir / parent))
      if (entry.is_directory()) all[entry.path().filename()] = entry.path();
  return all;
}

std::vector<Include> includes() {
  std::vector<Include> all;
  const auto read = [&](const std::string& layer, const fs::directory_entry& entry) {
    if (entry.is_regular_file() && is_source(entry.path())) read_includes(layer, entry.path(), all);
  };
  for (const auto& [layer, folder] : folders())
    for (const auto& entry : fs::directory_iterator(folder)) read(layer, entry);
  // The public headers have folders of their own, one for an adapter.
  for (const auto& entry : fs::recursive_directory_iterator(source_dir / "lib/include/refork"))
    if (entry.path().parent_path() != source_dir / "lib/include/refork") read("refork", entry);
  return all;
}

// What a header between <> belongs to: "std", "system", or the first part of its path.
std::string owner(const std::string& header) {
  static const Names system_folders = {"sys", "netinet", "arpa", "net", "linux", "bits", "asm"};
  static const Names other_headers = {"sqlite3.h", "httplib.h", "uv.h"};
  const auto slash = header.find('/');
  if (slash != header.npos) {
    const std::string folder = header.substr(0, slash);
    return system_folders.count(folder) ? "system" : folder;
  }
  const auto dot = header.find('.');
  if (dot == header.npos || header == "stddef.h" || header == "stdint.h") return "std";
  return other_headers.count(header) ? header.substr(0, dot) : "system";
}

// Why this include is against the table; empty if it is not.
std::string complaint(const Table& table, const Include& include) {
  const Layer& layer = table.at(include.layer);
  const auto slash = include.target.find('/');
  const std::string first = include.target.substr(0, slash);
  if (include.quoted) {
    if (slash == include.target.npos) return include.layer == "main" ? "" : " is included without its folder";
    if (first == include.layer || layer.may_include.count(first)) return "";
    return table.count(first) ? ": " + include.layer + " may not include " + first : " is of no layer";
  }
  const std::string named = owner(include.target);
  if (named == "std" || layer.may_name.count(named)) return "";
  return ": " + include.layer + " may not name " + named;
}

TEST(Layers, TheTableNamesEveryFolderAndNoOther) {
  Names written, found;
  for (const auto& [layer, _] : read_table()) written.insert(layer);
  for (const auto& [layer, _] : folders()) found.insert(layer);
  EXPECT_EQ(written, found);
}

TEST(Layers, TheTableHasNoCircle) {
  Table left = read_table();
  for (bool removed = true; removed;) {
    removed = false;
    for (auto layer = left.begin(); layer != left.end();) {
      const auto& needs = layer->second.may_include;
      const bool free =
          std::none_of(needs.begin(), needs.end(), [&](const auto& n) { return left.count(n) > 0; });
      removed |= free;
      layer = free ? left.erase(layer) : std::next(layer);
    }
  }
  for (const auto& [layer, _] : left) ADD_FAILURE() << layer << " is part of a circle";
}

TEST(Layers, EveryIncludeIsInTheTable) {
  const Table table = read_table();
  ASSERT_FALSE(table.empty());
  std::map<std::string, int> counted;
  for (const auto& include : includes()) {
    ++counted[include.layer];
    const std::string why =
        table.count(include.layer) ? complaint(table, include) : " is in a folder of no layer";
    EXPECT_TRUE(why.empty()) << include.file << ": " << include.target << why;
  }
  for (const auto& [layer, _] : table)
    EXPECT_GT(counted[layer], 0) << layer << " includes nothing: is it there at all?";
}

// The rule is worth something only if it is broken by what it forbids.
TEST(Layers, WhatTheTableDoesNotSayIsRefused) {
  const Table table = read_table();
  const auto refused = [&](const char* layer, const char* target, bool quoted) {
    return !complaint(table, {layer, "x.cc", target, quoted}).empty();
  };
  EXPECT_TRUE(refused("core", "os/spawn.h", true));
  EXPECT_TRUE(refused("core", "unistd.h", false));
  EXPECT_TRUE(refused("core", "sys/socket.h", false));
  EXPECT_TRUE(refused("core", "nlohmann/json.hpp", false));
  EXPECT_TRUE(refused("store", "systemd/sd-bus.h", false));
  EXPECT_TRUE(refused("bus", "sqlite3.h", false));
  EXPECT_TRUE(refused("bus", "store/store.h", true));
  EXPECT_TRUE(refused("core", "spawn.h", true));
  EXPECT_FALSE(refused("core", "proto/messages.h", true));
  EXPECT_FALSE(refused("core", "vector", false));
}

// Only inside: no header that another layer may include names nlohmann, except the codecs' own.
TEST(Layers, JsonStaysInsideProto) {
  for (const auto& include : includes()) {
    const bool names_json = include.target.rfind("nlohmann", 0) == 0 && include.file.rfind("lib/", 0) == 0;
    EXPECT_TRUE(!names_json || include.file == "lib/src/proto/json.h") << include.file;
    const bool is_codec = include.layer == "proto" && fs::path(include.file).extension() == ".cc";
    EXPECT_TRUE(include.target != "proto/json.h" || is_codec) << include.file;
  }
}

TEST(Layers, OnlyAdaptersNameMoreThanTheStandardLibraryInPublic) {
  const Names adapters = {"asio", "evhttp", "httplib", "libevent", "uv"};
  for (const auto& include : includes()) {
    const std::string file = fs::relative(include.file, "lib/include/refork");
    const std::string adapter = file.substr(0, file.find_first_of("/."));
    if (include.layer != "refork" || adapters.count(adapter)) continue;
    const bool of_adapters = adapter == "detail" && owner(include.target) == "system";
    EXPECT_TRUE(include.quoted || of_adapters || owner(include.target) == "std")
        << include.file << ": " << include.target;
  }
}

}  // namespace
}  // namespace refork
