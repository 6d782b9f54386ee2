// Questions for symbols and their answers as JSON. Part of reforkd and its helper, not of librefork.

#include "proto/symbols.h"

#include <algorithm>

#include "base/utf8.h"
#include "proto/json.h"
#include "proto/record.h"

namespace refork::proto {
namespace {

std::string line(const std::string& text) { return base::utf8_clean(text, base::Controls::drop, max_value); }

Json frame_json(const std::vector<Symbol>& symbols) {
  Json list = Json::array();
  for (std::size_t i = 0; i < std::min(symbols.size(), max_inlined); ++i) {
    const Symbol& symbol = symbols[i];
    list.push_back({{"function", line(symbol.function)}, {"file", line(symbol.file)}, {"line", symbol.line}});
  }
  return list;
}

Json answer_json(const SymbolAnswer& answer, std::size_t frames) {
  Json json = {{"id", answer.id}, {"frames", Json::array()}};
  for (std::size_t i = 0; i < frames; ++i) json["frames"].push_back(frame_json(answer.frames[i]));
  return json;
}

base::Error wrong(const std::string& what) { return base::Error{EBADMSG, what}; }

base::Result<Json> object_of(std::string_view packet, const char* what) {
  if (packet.size() > max_symbol_packet)
    return base::Error{EMSGSIZE,
                       std::string(what) + " is at most " + std::to_string(max_symbol_packet) + " bytes"};
  auto json = parse_json(packet, what);
  if (json && !json->is_object()) return wrong(std::string(what) + " is a JSON object");
  return json;
}

// The list `key`, of objects or of lists, no longer than `limit`.
base::Result<const Json*> list_of(const Json& object, const char* key, std::size_t limit) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array() || found->size() > limit)
    return wrong(std::string(key) + ": expected a list of at most " + std::to_string(limit));
  return &*found;
}

base::Result<Symbol> read_symbol(const Json& json) {
  if (!json.is_object()) return wrong("a symbol: expected an object");
  Fields fields(json, "a symbol");
  Symbol symbol;
  symbol.function = line(fields.text("function", max_symbol_packet));
  symbol.file = line(fields.text("file", max_symbol_packet));
  symbol.line = fields.number32("line");
  if (const auto read = fields.result(); !read) return read.error();
  return symbol;
}

base::Result<std::vector<Symbol>> read_symbols(const Json& list) {
  if (!list.is_array() || list.size() > max_inlined) return wrong("symbols: expected a short list");
  std::vector<Symbol> symbols;
  for (const auto& json : list) {
    auto symbol = read_symbol(json);
    if (!symbol) return symbol.error();
    symbols.push_back(*std::move(symbol));
  }
  return symbols;
}

}  // namespace

base::Result<std::string> encode(const SymbolQuestion& question) {
  Json json = {{"id", question.id}, {"pid", question.pid}, {"frames", Json::array()}};
  for (const auto& place : question.frames)
    json["frames"].push_back({{"module", place.module}, {"offset", place.offset}});
  json["build_ids"] = Json::object();
  for (const auto& [module, id] : question.build_ids) json["build_ids"][module] = id;
  std::string text = print_json(json);
  if (text.size() > max_symbol_packet)
    return base::Error{EMSGSIZE, "a question is at most " + std::to_string(max_symbol_packet) + " bytes"};
  return text;
}

std::string encode(const SymbolAnswer& answer) {
  std::size_t frames = std::min(answer.frames.size(), max_frames);
  std::string text = print_json(answer_json(answer, frames));
  while (text.size() > max_symbol_packet && frames > 0)
    text = print_json(answer_json(answer, frames -= (frames + 7) / 8));
  return text;
}

base::Result<SymbolQuestion> decode_symbol_question(std::string_view packet) {
  const auto json = object_of(packet, "a question");
  if (!json) return json.error();
  Fields fields(*json, "a question");
  SymbolQuestion question;
  question.id = fields.number("id");
  question.pid = static_cast<std::int32_t>(fields.number("pid", std::numeric_limits<std::int32_t>::max()));
  if (const auto read = fields.result(); !read) return read.error();
  const auto frames = list_of(*json, "frames", max_frames);
  if (!frames) return frames.error();
  for (const auto& frame : **frames) {
    if (!frame.is_object()) return wrong("frames: expected objects");
    Fields place(frame, "a frame");
    question.frames.push_back({place.text("module", max_value), place.number("offset")});
    if (const auto read = place.result(); !read) return read.error();
  }
  const auto ids = json->find("build_ids");
  if (ids == json->end() || !ids->is_object()) return wrong("build_ids: expected an object");
  for (const auto& [module, id] : ids->items()) {
    if (!id.is_string() || !is_build_id(id.get_ref<const std::string&>()))
      return wrong("build_ids: expected hexadecimal digits in lower case");
    question.build_ids.emplace_back(module, id.get<std::string>());
  }
  return question;
}

base::Result<SymbolAnswer> decode_symbol_answer(std::string_view packet) {
  const auto json = object_of(packet, "an answer");
  if (!json) return json.error();
  Fields fields(*json, "an answer");
  SymbolAnswer answer;
  answer.id = fields.number("id");
  if (const auto read = fields.result(); !read) return read.error();
  const auto frames = list_of(*json, "frames", max_frames);
  if (!frames) return frames.error();
  for (const auto& list : **frames) {
    auto symbols = read_symbols(list);
    if (!symbols) return symbols.error();
    answer.frames.push_back(*std::move(symbols));
  }
  return answer;
}

}  // namespace refork::proto
