#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "os/spawn.h"

namespace refork::os {

// What sd_notify(3) says: NAME=VALUE lines and perhaps descriptors, of a sender the kernel vouches for.
struct Notification {
  pid_t pid = 0;
  std::map<std::string, std::string> fields;
  std::vector<base::UniqueFd> fds;
};

struct NotifyPair;

// Where others say what they have to. Who can send at all follows from how it is made.
class NotifySocket {
 public:
  // A file with mode 0600, for `user` (none: this process's own) and root. A socket that is at the path
  // already is replaced: whether it is somebody else's is for the caller to know. An error, and no file,
  // where that user does not get there. remove() removes the file, the destructor does not.
  static base::Result<NotifySocket> open_file(const std::string& path,
                                              const std::optional<Credentials>& user);
  // In the abstract namespace: every process of the machine (of its network namespace).
  static base::Result<NotifySocket> open_abstract();
  // Without a name: whoever holds the other end.
  static base::Result<NotifyPair> make_pair();
  // One that was made in another process. ENOENT: its file is gone.
  static base::Result<NotifySocket> adopt(base::UniqueFd socket);

  // Makes its file that of `user`; an error as for open_file().
  base::Result<void> give_to(const std::optional<Credentials>& user) const;
  int fd() const noexcept { return fd_.get(); }
  const std::string& name() const noexcept { return name_; }  // for $NOTIFY_SOCKET: "/..." or "@..."
  // Nothing: empty, or so much that is malformed that others should have their turn; fd() is readable then.
  std::optional<Notification> receive();
  void remove() noexcept;  // closes; the file goes only if it is still the one made here

 private:
  base::Result<void> note_file();

  base::UniqueFd fd_;
  std::string name_;
  std::uint64_t device_ = 0, inode_ = 0;  // of its file
};

struct NotifyPair {
  NotifySocket socket;
  base::UniqueFd sender;
};

// To reforkd's own $NOTIFY_SOCKET, if there is one.
void notify_manager(std::string_view state);

}  // namespace refork::os
