#pragma once

#include <string>
#include <string_view>
#include <vector>

// The pages of docs, and what stands in their blocks of code.
namespace refork::test {

// What a block is for, by the line that opens it.
enum class Use {
  program,  // ```cpp program=NAME, ```c program=NAME: compiled and run
  script,   // ```py script=NAME: run
  excerpt,  // ```cpp excerpt=NAME: lines of that program
  run,      // ```sh run: typed by the test
  output,   // ```text output: what the commands before it print; … stands for anything
  build,    // ```sh build: makes ./server of the program
  bench,    // ```sh bench: not run here, but all that it names is there
  install,  // ```sh install, ```sh start: needs packages or systemd; run in a booted system
  start,
  configuration,  // ```json configuration: /etc/refork/refork.json from here on
  none
};

struct Block {
  Use use = Use::none;
  std::string language;
  std::string name;  // of a program
  std::string opening;
  std::string text;
};

struct Page {
  std::string file;  // below the root of the tree
  std::string text;
  std::vector<Block> blocks;

  const Block* program() const;
};

std::vector<Block> read_blocks(std::string_view text);
Page read_page(const std::string& file);
std::vector<std::string> guide_pages();  // all files of docs/guides
std::vector<std::string> lines(std::string_view text);

// Whether the text is what the pattern shows. A line that is only … stands for any lines, one in a line for
// anything there.
bool matches(std::string_view pattern, std::string_view text);

}  // namespace refork::test
