#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace refork::base {

// What reforkd and reforkctl say of a service that is not there, in the same words.
inline std::string no_service(std::string_view name, const std::vector<std::string>& known) {
  std::string text = "no service \"" + std::string(name) + "\"; ";
  if (known.empty()) return text + "there are none";
  text += known.size() == 1 ? "there is: " : "there are: ";
  for (std::size_t i = 0; i < known.size(); ++i) text += (i == 0 ? "" : ", ") + known[i];
  return text;
}

}  // namespace refork::base
