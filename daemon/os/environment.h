#pragma once

#include <string>
#include <string_view>
#include <vector>

// Of this process's environment what is not for others. In the one table: what a manager told reforkd, and
// what keeper and reforkd tell each other and the workers.
namespace refork::os {

enum class Receiver {
  own,     // keeper or reforkd: but for what it is told anew
  worker,  // nothing that was for reforkd
};

bool is_withheld(std::string_view name, Receiver receiver);
// "NAME=value" of all that is not withheld.
std::vector<std::string> environment_for(Receiver receiver);

}  // namespace refork::os
