#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "os/background.h"
#include "supervisor/failures.h"
#include "supervisor/loop.h"

namespace refork::supervisor {

// The last lines that workers wrote, where they write to a file or to the journal. Read by a thread of its
// own: a disk may be slow, and a record that has to wait for it holds up nobody.
class OutputTail : public Outputs {
 public:
  explicit OutputTail(Loop& loop);
  void ask(const Subject& subject, Reply reply) override;

 private:
  os::Background background_;
  Loop::Source source_;
};

}  // namespace refork::supervisor
