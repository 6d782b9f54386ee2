#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/record.h"

namespace refork::proto {

inline constexpr std::string_view redacted = "[redacted]";

// Hides what nobody should read in a record. A name hides the value of a context key that is or ends in it
// ("token": also "X-Auth-Token", "refreshToken"; without regard to case, '-' and '_'), and what follows it
// inside labels, context values and lines of output ("token=...", "Cookie: ..."). The name "query" is another
// matter: the query of a request's label. Messages and types are what the application's author chose to say,
// and stay. Pure; every operation is idempotent.
class Redactor {
 public:
  // What is hidden where nobody says otherwise, "query" among it.
  static std::span<const std::string_view> default_names();

  Redactor() : Redactor(default_names()) {}
  explicit Redactor(const std::vector<std::string>& names);  // none: hides nothing

  // The same, but what the application meant to be seen is not hidden.
  Redactor showing_query() const;

  bool hides_key(std::string_view key) const;
  std::string text(std::string_view text) const;    // of a context value, or of output
  std::string label(std::string_view label) const;  // of a request
  void apply(FailureRecord& record) const;
  void apply(Outcome& outcome) const;

 private:
  explicit Redactor(std::span<const std::string_view> names);
  void add(std::string_view name);

  std::vector<std::string> names_;  // in lower case, without what separates words
  std::size_t longest_ = 0;
  bool query_ = false;
};

}  // namespace refork::proto
