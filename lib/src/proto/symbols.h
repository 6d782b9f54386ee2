#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

// What reforkd and refork-symbolizer say to each other: JSON, one packet a question and one an answer, in
// the order of the questions.
namespace refork::proto {

struct SymbolQuestion {
  struct Place {
    std::string module;
    std::uint64_t offset = 0;  // of a call: one before the return address
  };
  std::uint64_t id = 0;
  std::int32_t pid = 0;  // the worker, as long as it lives; 0: unknown
  std::vector<Place> frames;
  std::vector<std::pair<std::string, std::string>> build_ids;  // as in a record
};

struct Symbol {
  std::string function;    // demangled; empty: not known
  std::string file;        // empty: not known
  std::uint32_t line = 0;  // 0: not known
  bool operator==(const Symbol&) const = default;
};

struct SymbolAnswer {
  std::uint64_t id = 0;
  // For each frame of the question what stands there: the innermost inlined function first, outward to the
  // one that was really called. Empty: not known.
  std::vector<std::vector<Symbol>> frames;
};

// Limits, of both directions; what is longer is cut, from the oldest frames on.
inline constexpr std::size_t max_symbol_packet = 65536;
inline constexpr std::size_t max_inlined = 16;  // symbols of one frame

// EMSGSIZE: the question is larger than a packet.
base::Result<std::string> encode(const SymbolQuestion& question);
std::string encode(const SymbolAnswer& answer);
base::Result<SymbolQuestion> decode_symbol_question(std::string_view packet);
base::Result<SymbolAnswer> decode_symbol_answer(std::string_view packet);  // untrusted: bounded, cleaned

}  // namespace refork::proto
