// Who may do what. A pure function of the connection's credentials: nothing here asks the system, and nothing
// elsewhere decides.
#include "bus/access.h"

#include <algorithm>

namespace refork::bus {

namespace {

bool is_operator(const Peer& peer, const AccessPolicy& policy) {
  if (!policy.operators) return false;
  return peer.gid == *policy.operators ||
         std::find(peer.groups.begin(), peer.groups.end(), *policy.operators) != peer.groups.end();
}

const char* described(Action action) {
  switch (action) {
    case Action::read_status:
      return "read the status";
    case Action::read_failures:
      return "read failures";
    case Action::read_messages:
      return "read messages";
    case Action::operate:
      return "operate services";
    case Action::administer:
      return "administer reforkd";
  }
  return "do this";
}

}  // namespace

bool is_owner(const Peer& peer, const AccessPolicy& policy) {
  return peer.uid == 0 || peer.uid == policy.owner;
}

bool may(const Peer& peer, const AccessPolicy& policy, Action action) {
  if (is_owner(peer, policy)) return true;
  switch (action) {
    case Action::read_status:
      return true;
    case Action::read_failures:
    case Action::read_messages:
    case Action::operate:
      return is_operator(peer, policy);
    case Action::administer:
      return false;
  }
  return false;
}

std::string denial(const Peer& peer, Action action) {
  const bool group_suffices = action != Action::administer;
  return "uid " + std::to_string(peer.uid) + " may not " + described(action) +
         (group_suffices ? ": only root, the user of reforkd and members of the group refork may"
                         : ": only root and the user of reforkd may");
}

}  // namespace refork::bus
