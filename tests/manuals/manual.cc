// Reads the pages of man/: not mdoc as a whole, but the few macros that hold examples.
#include "manuals/manual.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace refork::test {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ".\\\" example: ";

constexpr std::array<std::pair<std::string_view, Purpose>, 7> kPurposes = {
    {{"program", Purpose::program},
     {"c-program", Purpose::c_program},
     {"prints", Purpose::prints},
     {"run", Purpose::run},
     {"system", Purpose::system},
     {"configuration", Purpose::configuration},
     {"declared", Purpose::declared}}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kEscapes = {
    {{"\\(dq", "\""}, {"\\(aq", "'"}, {"\\-", "-"}, {"\\&", ""}, {"\\e", "\\"}}};

Example example_of(std::string_view mark) {
  Example example;
  const std::size_t blank = std::min(mark.find(' '), mark.size());
  for (const auto& [name, purpose] : kPurposes)
    if (mark.substr(0, blank) == name) example.purpose = purpose;
  example.argument = mark.substr(std::min(blank + 1, mark.size()));
  return example;
}

}  // namespace

std::string plain(std::string_view source) {
  std::string text;
  while (!source.empty()) {
    const auto escape = std::ranges::find_if(kEscapes, [&](auto& e) { return source.starts_with(e.first); });
    text += escape == kEscapes.end() ? source.substr(0, 1) : escape->second;
    source.remove_prefix(escape == kEscapes.end() ? 1 : escape->first.size());
  }
  return text;
}

std::vector<Example> read_examples(std::string_view source) {
  std::vector<Example> examples;
  std::istringstream in{std::string(source)};
  std::string mark;
  bool inside = false;
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.starts_with(".Bd -literal") || line.starts_with(".Dl ")) {
      examples.push_back(example_of(mark));
      examples.back().line = number;
      inside = line.starts_with(".Bd");
      if (!inside) examples.back().text = plain(line.substr(4)) + '\n';
    } else if (line == ".Ed") {
      inside = false;
    } else if (inside) {
      examples.back().text += plain(line) + '\n';
    }
    mark = line.starts_with(kMark) ? line.substr(kMark.size()) : "";
  }
  return examples;
}

const Example* Manual::program() const {
  const auto found = std::ranges::find_if(examples, [](const Example& example) {
    return example.purpose == Purpose::program || example.purpose == Purpose::c_program;
  });
  return found == examples.end() ? nullptr : &*found;
}

bool Manual::has(std::string_view line) const {
  return ('\n' + text).find('\n' + std::string(line) + '\n') != text.npos;
}

Manual read_manual(const std::string& name) {
  std::ifstream in(fs::path(REFORK_SOURCE_DIR) / "man" / name);
  if (!in) throw std::runtime_error("no manual page " + name);
  Manual manual{name, {std::istreambuf_iterator<char>(in), {}}, {}};
  manual.examples = read_examples(manual.text);
  return manual;
}

std::vector<std::string> manual_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(REFORK_SOURCE_DIR) / "man")) {
    const std::string extension = entry.path().extension().string();
    if (extension.size() == 2 && extension[1] >= '1' && extension[1] <= '8')
      names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

std::vector<Command> commands_of(const std::string& text) {
  std::vector<Command> commands;
  std::istringstream in(text);
  bool goes_on = false;  // the command, after a backslash
  for (std::string line; std::getline(in, line);) {
    if (goes_on)
      commands.back().text += '\n' + line;
    else if (line.starts_with("$ ") || line.starts_with("# "))
      commands.push_back({line.substr(2), "", line[0] == '#'});
    else if (!commands.empty())
      commands.back().output += line + '\n';
    else
      throw std::runtime_error("an example begins with what it prints: " + line);
    const bool command = commands.back().output.empty();
    goes_on = command && line.ends_with('\\');
  }
  return commands;
}

}  // namespace refork::test
