// From a worker's end to the end of what it wrote.
#include "supervisor/output_tail.h"

#include <sys/epoll.h>

#include "os/file_end.h"

namespace refork::supervisor {

OutputTail::OutputTail(Loop& loop)
    : source_(loop.watch(background_.fd(), EPOLLIN, [this](std::uint32_t) { background_.dispatch(); })) {}

void OutputTail::ask(const Subject& subject, Reply reply) {
  const auto work = [path = subject.output, from = subject.output_from,
                     to = subject.output_to.value_or(os::end_of_file), reply]() -> os::Background::Done {
    // Bytes that are not to be seen may go.
    const std::string text = os::read_end(path, from, 2 * proto::max_output_tail, to);
    return [reply, text = proto::output_end(text, proto::max_output_lines, proto::max_output_tail)] {
      reply(text);
    };
  };
  if (!background_.run(work)) reply("");
}

}  // namespace refork::supervisor
