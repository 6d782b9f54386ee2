#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/enum_names.h"
#include "base/result.h"

// The one header of the library that names nlohmann; for the codecs of this layer only.
namespace refork::proto {

using Json = nlohmann::ordered_json;

inline constexpr int max_depth =
    32;  // of nested arrays and objects; what recurses over a value has this many frames

// RFC 8259 and nothing more. EBADMSG with a sentence about `what` ("a message").
base::Result<Json> parse_json(std::string_view text, std::string_view what, int depth = max_depth);

// On one line; bytes that are no UTF-8 are replaced.
std::string print_json(const Json& value);

// The value of a member of the object `text`, exactly as it is written there (numbers keep their digits);
// empty if the key is not found in that spelling. `text` has passed parse_json().
std::string_view raw_member(std::string_view text, std::string_view key);

// Reads the fields of one object. A field that is missing or wrong gives a default, and the first such is the
// error. Fields nobody asks for are ignored: a later version may send them.
class Fields {
 public:
  Fields(const Json& object, std::string_view what) : object_(object), what_(what) {}

  std::uint64_t number(const char* key, std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
  std::uint32_t number32(const char* key) {
    return static_cast<std::uint32_t>(number(key, std::numeric_limits<std::uint32_t>::max()));
  }
  bool flag(const char* key);
  std::string text(const char* key, std::size_t max_bytes);
  template <class E>
  E name(const char* key) {
    const Json* value = get(key);
    if (value == nullptr) return E{};
    if (value->is_string())
      if (const auto known = base::from_name<E>(value->get_ref<const std::string&>())) return *known;
    wrong(key, "one of " + joined_names<E>());
    return E{};
  }

  // What fails a rule that only the caller knows.
  void wrong(const char* key, std::string_view expected);
  base::Result<void> result() const;

 private:
  template <class E>
  static std::string joined_names() {
    std::string all;
    for (const auto name : base::EnumNames<E>::names) (all += all.empty() ? "" : ", ") += name;
    return all;
  }
  const Json* get(const char* key);

  const Json& object_;
  std::string_view what_;
  std::string error_;
};

}  // namespace refork::proto
