// Whatever refork-symbolizer answers, and whatever it is asked: taken or refused, and what is taken is within
// its bounds, and is printed and taken again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "proto/record.h"
#include "proto/symbols.h"

namespace {

using namespace refork::proto;

void require(bool holds) {
  if (!holds) std::abort();
}

bool is_line(const std::string& text) {
  return text.size() <= max_value &&
         refork::base::utf8_clean(text, refork::base::Controls::drop, max_value) == text;
}

void check_answer(std::string_view packet) {
  const auto answer = decode_symbol_answer(packet);
  if (!answer) return;
  require(answer->frames.size() <= max_frames);
  for (const auto& frame : answer->frames) {
    require(frame.size() <= max_inlined);
    for (const auto& symbol : frame) require(is_line(symbol.function) && is_line(symbol.file));
  }
  const std::string printed = encode(*answer);
  const auto again = decode_symbol_answer(printed);
  require(printed.size() <= max_symbol_packet && again.ok() && encode(*again) == printed);
}

void check_question(std::string_view packet) {
  const auto question = decode_symbol_question(packet);
  if (!question) return;
  require(question->pid >= 0 && question->frames.size() <= max_frames);
  const auto printed = encode(*question);
  if (!printed) return;  // larger than a packet
  const auto again = decode_symbol_question(*printed);
  require(again.ok() && *encode(*again) == *printed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view packet(reinterpret_cast<const char*>(data), size);
  check_answer(packet);
  check_question(packet);
  return 0;
}
