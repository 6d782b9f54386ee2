#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace refork::bus {

// Who is at the other end, as the kernel vouches for it: the credentials at connect().
struct Peer {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // need not contain gid
};

struct AccessPolicy {
  uid_t owner = 0;                 // the daemon's own user
  std::optional<gid_t> operators;  // group `refork`, where there is one
};

enum class Action {
  read_status,
  read_failures,  // labels, contexts, messages of the errors
  read_messages,  // what workers say to the application's operator
  operate,        // start, stop, restart, reload, scale, drain, kill, send
  administer,     // remove records, execute reforkd anew
};

bool is_owner(const Peer& peer, const AccessPolicy& policy);
// Who may do what, decided here and nowhere else. Pure.
bool may(const Peer& peer, const AccessPolicy& policy, Action action);
// The sentence for a peer that may not.
std::string denial(const Peer& peer, Action action);

}  // namespace refork::bus
