#pragma once

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "os/cgroup.h"
#include "os/leaf_cgroups.h"
#include "support/process.h"

namespace refork::test {

// A cgroup below the test's own, delegated or not, that the test moves into: what it starts is there as well.
// Where none can be made (no cgroup2, no right to), everything stays where it is.
class TestCgroup {
 public:
  explicit TestCgroup(bool delegated) : outer_(os::own_cgroup()) {
    const std::string inner = outer_ + "/refork-test-" + std::to_string(::getpid());
    if (outer_.empty() || ::mkdir(inner.c_str(), 0755) != 0) return;
    if ((!delegated || ::setxattr(inner.c_str(), "user.delegate", "1", 1, 0) == 0) && move_to(inner))
      directory_ = inner;
    else
      ::rmdir(inner.c_str());
  }
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;
  ~TestCgroup() {
    if (directory_.empty()) return;
    move_to(outer_);
    const auto leaves = os::LeafCgroups::in(directory_);
    wait_until([&] {
      if (leaves)
        for (const auto& leaf : leaves->list()) leaves->end(leaf);
      return ::rmdir(directory_.c_str()) == 0;
    });
  }

  const std::string& directory() const noexcept { return directory_; }  // empty: there is none

 private:
  static bool move_to(const std::string& directory) {
    std::ofstream procs(directory + "/cgroup.procs");
    return static_cast<bool>(procs << ::getpid() << std::flush);
  }

  const std::string outer_;
  std::string directory_;
};

}  // namespace refork::test
