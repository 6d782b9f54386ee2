#pragma once

#include <list>
#include <memory>
#include <string>

#include "proto/symbols.h"
#include "symbolizer/elf_file.h"
#include "symbolizer/module.h"

namespace refork::symbolizer {

// Answers questions. Files stay open between them, the ones used last, and each is looked at anew before it
// is believed: a deploy replaces them.
class Resolver {
 public:
  static constexpr std::size_t max_files = 32;

  explicit Resolver(std::string debug_root) : debug_root_(std::move(debug_root)) {}
  // `executable`: of the process that asks, -1 for none; borrowed, and perhaps only a path (O_PATH).
  proto::SymbolAnswer answer(const proto::SymbolQuestion& question, int executable);
  std::size_t files() const noexcept { return files_.size(); }

 private:
  struct File {
    FileKey key;
    std::unique_ptr<Module> module;  // null: it cannot be read
  };
  Module* module_for(const proto::SymbolQuestion& question, const std::string& path, int executable);
  Module* load(const std::string& file, const std::string& path);

  std::string debug_root_;
  std::list<File> files_;  // used last first
};

}  // namespace refork::symbolizer
