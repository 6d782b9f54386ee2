// One ELF file behind libdwfl: from opening it to the scopes at an address. Which file is the right one is
// the resolver's business; how a scope is called is names.cc's.
#include "symbolizer/module.h"

#include <dwarf.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>

#include "symbolizer/elf_file.h"
#include "symbolizer/names.h"

namespace refork::symbolizer {
namespace {

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};
using Scopes = std::unique_ptr<Dwarf_Die[], Free>;

std::string build_id_of(Dwfl_Module* module) {
  const unsigned char* bytes = nullptr;
  GElf_Addr address = 0;
  const int size = dwfl_module_build_id(module, &bytes, &address);
  std::string text;
  for (int i = 0; i < size; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

constexpr int max_nesting = 256;  // of scopes; what is deeper was not compiled from anything

int find_no_elf(Dwfl_Module*, void**, const char*, Dwarf_Addr, char**, Elf**) noexcept { return -1; }

struct Place {
  std::string file;
  std::uint32_t line = 0;
};

Place place_of(Dwarf_Die* unit, Dwarf_Addr address) {
  Dwarf_Line* line = dwarf_getsrc_die(unit, address);
  int number = 0;
  if (!line || dwarf_lineno(line, &number) != 0) return {};
  return {plain_path(dwarf_linesrc(line, nullptr, nullptr)), static_cast<std::uint32_t>(number)};
}

// Where the call stands that was inlined.
Place call_of(Dwarf_Die* inlined, Dwarf_Die* unit) {
  Dwarf_Attribute attribute;
  Dwarf_Word file = 0, line = 0;
  Dwarf_Files* files = nullptr;
  Place place;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file) == 0 &&
      dwarf_getsrcfiles(unit, &files, nullptr) == 0)
    place.file = plain_path(dwarf_filesrc(files, file, nullptr, nullptr));
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) == 0)
    place.line = static_cast<std::uint32_t>(line);
  return place;
}

bool is_scope(int tag) {
  return tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
         tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
}

bool holds_others(int tag) {
  return tag == DW_TAG_namespace || tag == DW_TAG_class_type || tag == DW_TAG_structure_type;
}

// The innermost scope within `scope` that has the address. Not by dwarf_getscopes(), which goes on from it to
// where it was written, and finds nothing at all where clang++ has inlined it.
bool find_innermost(Dwarf_Die* scope, Dwarf_Addr address, Dwarf_Die& innermost, int depth = 0) {
  Dwarf_Die child;
  if (depth == max_nesting || dwarf_child(scope, &child) != 0) return false;
  do {
    const int tag = dwarf_tag(&child);
    const bool has = is_scope(tag) && dwarf_haspc(&child, address) == 1;
    if (has) innermost = child;
    if (has || holds_others(tag))
      if (find_innermost(&child, address, innermost, depth + 1) || has) return true;
  } while (dwarf_siblingof(&child, &child) == 0);
  return false;
}

// The scopes around an address, as they were inlined into each other.
std::size_t scopes_at(Dwarf_Die* unit, Dwarf_Addr address, Scopes& nested) {
  Dwarf_Die innermost;
  if (!find_innermost(unit, address, innermost)) return 0;
  Dwarf_Die* found = nullptr;
  const int depth = dwarf_getscopes_die(&innermost, &found);
  if (depth <= 0) return 0;
  nested.reset(found);
  return static_cast<std::size_t>(depth);
}

std::vector<proto::Symbol> functions_at(Dwarf_Die* unit, Dwarf_Addr address) {
  std::vector<proto::Symbol> symbols;
  Place place = place_of(unit, address);
  Scopes scopes;
  const std::size_t depth = scopes_at(unit, address, scopes);
  for (std::size_t i = 0; i < depth && symbols.size() < proto::max_inlined; ++i) {
    const int tag = dwarf_tag(&scopes[i]);
    if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram) continue;
    symbols.push_back({function_name(&scopes[i]), place.file, place.line});
    if (tag == DW_TAG_subprogram) break;
    place = call_of(&scopes[i], unit);
  }
  if (symbols.empty() && place.line != 0) symbols.push_back({"", place.file, place.line});
  return symbols;
}

// What the symbol table calls the function, if it reaches that far.
std::string symbol_at(Dwfl_Module* module, Dwarf_Addr address) {
  GElf_Off offset = 0;
  GElf_Sym symbol{};
  const char* name = dwfl_module_addrinfo(module, address, &offset, &symbol, nullptr, nullptr, nullptr);
  return name && offset < symbol.st_size ? demangled(name) : "";
}

}  // namespace

std::unique_ptr<Module> Module::load(base::UniqueFd file, const std::string& path,
                                     const std::string& debug_root) {
  if (!is_elf_image(file.get())) return nullptr;
  std::unique_ptr<Module> self(new Module(path, debug_root));
  self->callbacks_ = {find_no_elf, find_debug_file, nullptr, nullptr};
  self->dwfl_.reset(dwfl_begin(&self->callbacks_));
  if (!self->dwfl_) return nullptr;
  dwfl_report_begin(self->dwfl_.get());
  self->module_ = dwfl_report_elf(self->dwfl_.get(), "module", path.c_str(), file.get(), 0, true);
  if (!self->module_) return nullptr;
  static_cast<void>(file.release());
  dwfl_report_end(self->dwfl_.get(), nullptr, nullptr);
  void** userdata = nullptr;
  dwfl_module_info(self->module_, &userdata, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  *userdata = self.get();
  self->build_id_ = build_id_of(self->module_);
  return self;
}

// libdwfl asks for it when a file has no debugging information itself.
int Module::find_debug_file(Dwfl_Module*, void** self, const char*, Dwarf_Addr, const char*, const char* link,
                            GElf_Word crc, char**) noexcept {
  try {
    return static_cast<const Module*>(*self)->separate_debug_file(link, crc).release();
  } catch (...) {
    return -1;
  }
}

base::UniqueFd Module::separate_debug_file(const char* link, std::uint32_t crc) const {
  if (!build_id_.empty())
    if (auto file = open_regular(debug_path(debug_root_, build_id_)); file && is_elf_image(file.get()))
      return file;
  const std::string name = link ? link : "";
  if (name.empty() || name.find('/') != std::string::npos) return {};
  const std::string directory = std::filesystem::path(path_).parent_path();
  for (const auto& path :
       {directory + "/" + name, directory + "/.debug/" + name, debug_root_ + directory + "/" + name}) {
    auto file = open_regular(path);
    if (file && is_elf_image(file.get()) && crc32_of(file.get()) == crc) return file;
  }
  return {};
}

// Of units that the file has no index for: not every compiler writes one.
void Module::index_units() {
  Dwarf_Addr bias = 0;
  for (Dwarf_Die* unit = nullptr; (unit = dwfl_module_nextcu(module_, unit, &bias));) {
    Dwarf_Addr base = 0, low = 0, high = 0;
    for (std::ptrdiff_t at = 0; (at = dwarf_ranges(unit, at, &base, &low, &high)) > 0;)
      if (low < high) units_.push_back({low + bias, high + bias, unit});
  }
  std::ranges::sort(units_, {}, &Unit::low);
  indexed_ = true;
}

Dwarf_Die* Module::unit_at(Dwarf_Addr address, Dwarf_Addr& bias) {
  if (Dwarf_Die* unit = dwfl_module_addrdie(module_, address, &bias)) return unit;
  if (!indexed_) index_units();
  const auto next = std::ranges::upper_bound(units_, address, {}, &Unit::low);
  if (next == units_.begin() || address >= std::prev(next)->high) return nullptr;
  dwfl_module_getdwarf(module_, &bias);
  return std::prev(next)->die;
}

// The same failure comes again and again, and looking a place up may mean reading a whole symbol table.
const std::vector<proto::Symbol>& Module::symbols_at(std::uint64_t offset) {
  const auto known = known_.find(offset);
  if (known != known_.end()) return known->second;
  if (known_.size() >= max_known) known_.clear();
  return known_.emplace(offset, look_up(offset)).first->second;
}

std::vector<proto::Symbol> Module::look_up(std::uint64_t offset) {
  GElf_Addr elf_bias = 0;
  if (!dwfl_module_getelf(module_, &elf_bias)) return {};
  const Dwarf_Addr address = offset + elf_bias;
  Dwarf_Addr bias = 0;
  std::vector<proto::Symbol> symbols;
  if (Dwarf_Die* unit = unit_at(address, bias)) symbols = functions_at(unit, address - bias);
  if (symbols.empty() || symbols.back().function.empty()) {
    auto name = symbol_at(module_, address);
    if (symbols.empty() && !name.empty()) symbols.emplace_back();
    if (!symbols.empty()) symbols.back().function = std::move(name);
  }
  return symbols;
}

}  // namespace refork::symbolizer
