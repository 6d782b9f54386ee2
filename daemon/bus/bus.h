#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "core/operations.h"

struct sd_event;

namespace refork::bus {

// The D-Bus API on the private socket: sd-bus peer-to-peer. Objects /org/refork1, /org/refork1/service/NAME,
// /org/refork1/worker/ID; the one place that decides who may do what.
class Bus : public core::Publisher {
 public:
  // Takes over a stale socket file; EADDRINUSE if somebody listens. Mode 0660 and group `refork` (if there is one) for
  // root, else 0600. Does not make directories.
  static base::Result<std::unique_ptr<Bus>> listen(sd_event* loop, const std::string& path,
                                                   core::Operations& operations);
  virtual void close() = 0;  // flushes what can be flushed, ends all connections, removes the socket file
};

}  // namespace refork::bus
