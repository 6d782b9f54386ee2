// What a function and a file are called. Everything here comes from files that nobody vouches for.
#include "symbolizer/names.h"

#include <cxxabi.h>
#include <dwarf.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

namespace refork::symbolizer {
namespace {

constexpr std::size_t max_symbol = 16384;  // longer ones are not demangled: it costs stack and time
constexpr int max_scopes = 64;             // of a name put together
constexpr int max_depth = 8;               // of functions in functions

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

const char* linkage_name(Dwarf_Die* function) {
  Dwarf_Attribute attribute;
  for (const unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name})
    if (dwarf_attr_integrate(function, name, &attribute)) return dwarf_formstring(&attribute);
  return nullptr;
}

const char* plain_name(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  return dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attribute));
}

// Where a function was written: an inlined or out-of-line one refers to it.
Dwarf_Die written_at(Dwarf_Die die) {
  for (const unsigned reference : {DW_AT_abstract_origin, DW_AT_specification}) {
    Dwarf_Attribute attribute;
    Dwarf_Die referred;
    if (dwarf_formref_die(dwarf_attr(&die, reference, &attribute), &referred)) die = referred;
  }
  return die;
}

bool is_named_scope(int tag) {
  return tag == DW_TAG_namespace || tag == DW_TAG_structure_type || tag == DW_TAG_class_type ||
         tag == DW_TAG_union_type || tag == DW_TAG_subprogram;
}

std::string qualified(Dwarf_Die* function, int depth = 0) {
  const char* own = plain_name(function);
  if (!own) return "";
  std::string name = own;
  Dwarf_Die written = written_at(*function);
  Dwarf_Die* found = nullptr;
  const int count = dwarf_getscopes_die(&written, &found);
  const std::unique_ptr<Dwarf_Die[], Free> scopes(found);
  for (int i = 1; i < count && i < max_scopes; ++i) {
    Dwarf_Die scope = scopes[static_cast<std::size_t>(i)];
    const int tag = dwarf_tag(&scope);
    if (!is_named_scope(tag)) continue;
    // A function has its own scopes where it was declared.
    if (tag == DW_TAG_subprogram && depth < max_depth) return qualified(&scope, depth + 1) + "::" + name;
    const char* outer = plain_name(&scope);
    name = std::string(outer                     ? outer
                       : tag == DW_TAG_namespace ? "(anonymous namespace)"
                                                 : "{lambda}") +
           "::" + name;
  }
  return name;
}

}  // namespace

std::string demangled(const char* symbol) {
  int status = -1;
  std::unique_ptr<char, Free> plain;
  if (std::strlen(symbol) <= max_symbol) plain.reset(abi::__cxa_demangle(symbol, nullptr, nullptr, &status));
  std::string name = status == 0 && plain ? plain.get() : symbol;
  // "f(int) [clone .cold]" is f(int), in an unlikely part.
  if (const auto clone = name.find(" [clone "); clone != name.npos) name.resize(clone);
  return name;
}

std::string function_name(Dwarf_Die* function) {
  const char* symbol = linkage_name(function);
  std::string name = symbol ? demangled(symbol) : "";
  // Not every name can be demangled; then the one in the source, without its arguments, says more.
  if (name.empty() || name.starts_with("_Z"))
    if (std::string plain = qualified(function); !plain.empty()) return plain;
  return name;
}

std::string plain_path(const char* path) {
  return path ? std::filesystem::path(path).lexically_normal().string() : "";
}

}  // namespace refork::symbolizer
