#pragma once

#include <string>
#include <string_view>
#include <vector>

// The manual pages of man/, and what stands in their examples. A comment before a literal display says what
// it is for:
//   .\" example: run
//   .Bd -literal -offset indent
namespace refork::test {

// What an example is for.
enum class Purpose {
  program,        // program NAME: C++, compiled
  c_program,      // c-program NAME: C99, compiled
  prints,         // what the program before it prints, started by itself
  run,            // what a reader types after "$ " or "# ", and what that prints
  system,         // the same, but it needs a booted system with systemd and a bus
  configuration,  // a refork.json
  declared,       // declared HEADER: each declaration stands in that public header
  unknown
};

struct Example {
  Purpose purpose = Purpose::unknown;
  std::string argument;
  std::string text;
  std::size_t line = 0;  // in the page, of the display
};

// A command as a reader types it, and the lines that the page shows after it.
struct Command {
  std::string text;
  std::string output;
  bool as_root = false;
};

struct Manual {
  std::string name;  // "reforkctl.1"
  std::string text;  // the source
  std::vector<Example> examples;

  const Example* program() const;         // the first
  bool has(std::string_view line) const;  // of the source
};

std::string plain(std::string_view source);  // without the escapes of roff
std::vector<Example> read_examples(std::string_view source);
Manual read_manual(const std::string& name);
std::vector<std::string> manual_names();  // all files of man/ that are pages
std::vector<Command> commands_of(const std::string& text);

}  // namespace refork::test
