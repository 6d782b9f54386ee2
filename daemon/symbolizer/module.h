#pragma once

#include <elfutils/libdwfl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.h"
#include "proto/symbols.h"

namespace refork::symbolizer {

// One ELF file, with its separate debug file where there is one.
class Module {
 public:
  static constexpr std::size_t max_known = 4096;  // places remembered

  // `path`: where the file belongs, for .gnu_debuglink. Null: it cannot be read.
  static std::unique_ptr<Module> load(base::UniqueFd file, const std::string& path,
                                      const std::string& debug_root);
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  const std::string& build_id() const noexcept { return build_id_; }  // hex; empty: it has none
  // What stands at a return address, innermost first; empty: not known.
  const std::vector<proto::Symbol>& symbols_at(std::uint64_t offset);

 private:
  struct End {
    void operator()(Dwfl* dwfl) const noexcept { dwfl_end(dwfl); }
  };
  Module(std::string path, const std::string& debug_root) : path_(std::move(path)), debug_root_(debug_root) {}
  static int find_debug_file(Dwfl_Module*, void** self, const char*, Dwarf_Addr, const char*,
                             const char* link, GElf_Word crc, char** name) noexcept;
  // The compilation unit of an address; null: none.
  Dwarf_Die* unit_at(Dwarf_Addr address, Dwarf_Addr& bias);
  void index_units();
  std::vector<proto::Symbol> look_up(std::uint64_t offset);
  base::UniqueFd separate_debug_file(const char* link, std::uint32_t crc) const;

  std::string path_, debug_root_, build_id_;
  Dwfl_Module* module_ = nullptr;  // of dwfl_
  Dwfl_Callbacks callbacks_{};     // libdwfl keeps a pointer
  std::unique_ptr<Dwfl, End> dwfl_;
  struct Unit {
    Dwarf_Addr low, high;
    Dwarf_Die* die;
  };
  std::vector<Unit> units_;  // by address, made when first needed
  bool indexed_ = false;
  std::unordered_map<std::uint64_t, std::vector<proto::Symbol>> known_;
};

}  // namespace refork::symbolizer
