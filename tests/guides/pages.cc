// Reads the blocks of code of a page in Markdown. Not a parser of Markdown: a block begins and ends with a
// line that begins with three backticks.
#include "guides/pages.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace refork::test {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = REFORK_SOURCE_DIR;
constexpr std::string_view kFence = "```";
constexpr std::string_view kAnything = "…";

Block block_of(const std::string& opening) {
  Block block;
  block.opening = opening;
  std::istringstream words(opening.substr(kFence.size()));
  std::string use;
  words >> block.language >> use;
  const auto equals = use.find('=');
  if (equals != use.npos) block.name = use.substr(equals + 1);
  const std::string kind = block.language + ' ' + use.substr(0, equals);
  if (kind == "cpp program" || kind == "c program") block.use = Use::program;
  if (kind == "py script") block.use = Use::script;
  if (kind == "cpp excerpt" || kind == "c excerpt") block.use = Use::excerpt;
  if (kind == "sh run") block.use = Use::run;
  if (kind == "sh build") block.use = Use::build;
  if (kind == "sh bench") block.use = Use::bench;
  if (kind == "sh install") block.use = Use::install;
  if (kind == "sh start") block.use = Use::start;
  if (kind == "json configuration") block.use = Use::configuration;
  if (kind == "text output") block.use = Use::output;
  return block;
}

bool line_matches(std::string_view pattern, std::string_view line) {
  const auto at = pattern.find(kAnything);
  if (at == pattern.npos) return pattern == line;
  if (line.substr(0, at) != pattern.substr(0, at)) return false;
  const std::string_view rest = pattern.substr(at + kAnything.size());
  for (std::size_t from = at; from <= line.size(); ++from)
    if (line_matches(rest, line.substr(from))) return true;
  return false;
}

using Lines = std::vector<std::string>;

bool lines_match(Lines::const_iterator pattern, Lines::const_iterator pattern_end, Lines::const_iterator line,
                 Lines::const_iterator end) {
  if (pattern == pattern_end) return line == end;
  if (*pattern != kAnything)
    return line != end && line_matches(*pattern, *line) &&
           lines_match(pattern + 1, pattern_end, line + 1, end);
  for (; line != end; ++line)
    if (lines_match(pattern + 1, pattern_end, line, end)) return true;
  return lines_match(pattern + 1, pattern_end, end, end);
}

}  // namespace

const Block* Page::program() const {
  const auto found = std::ranges::find(blocks, Use::program, &Block::use);
  return found == blocks.end() ? nullptr : &*found;
}

std::vector<std::string> lines(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line); all.push_back(line))
    if (line.ends_with('\r')) line.pop_back();
  return all;
}

std::vector<Block> read_blocks(std::string_view text) {
  std::vector<Block> blocks;
  bool inside = false;
  for (const std::string& line : lines(text)) {
    if (line.starts_with(kFence)) {
      inside = !inside;
      if (inside) blocks.push_back(block_of(line));
    } else if (inside) {
      blocks.back().text += line + '\n';
    }
  }
  return blocks;
}

Page read_page(const std::string& file) {
  std::ifstream in(kRoot / file);
  if (!in) throw std::runtime_error("no page " + file);
  Page page{file, {std::istreambuf_iterator<char>(in), {}}, {}};
  page.blocks = read_blocks(page.text);
  return page;
}

std::vector<std::string> guide_pages() {
  std::vector<std::string> all;
  for (const auto& entry : fs::directory_iterator(kRoot / "docs/guides"))
    all.push_back("docs/guides/" + entry.path().filename().string());
  std::ranges::sort(all);
  return all;
}

bool matches(std::string_view pattern, std::string_view text) {
  const Lines wanted = lines(pattern);
  const Lines found = lines(text);
  return lines_match(wanted.begin(), wanted.end(), found.begin(), found.end());
}

}  // namespace refork::test
