#pragma once

#include <elfutils/libdw.h>

#include <string>

namespace refork::symbolizer {

// A symbol as people write it, without what a compiler adds for the parts it makes of one function.
std::string demangled(const char* symbol);

// Of a DW_TAG_subprogram or DW_TAG_inlined_subroutine: demangled, or put together from the scopes it was
// written in where the compiler gave it no symbol. Empty: it has none.
std::string function_name(Dwarf_Die* function);

// Without "." and ".." parts; empty for a null pointer.
std::string plain_path(const char* path);

}  // namespace refork::symbolizer
