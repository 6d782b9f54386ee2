// From a worker's end to the end of what it wrote.
#include "supervisor/output_tail.h"

#include <sys/epoll.h>

#include "os/file_end.h"
#include "os/journal.h"

namespace refork::supervisor {

OutputTail::OutputTail(Loop& loop)
    : source_(loop.watch(background_.fd(), EPOLLIN, [this](std::uint32_t) { background_.dispatch(); })) {}

namespace {

// Bytes that are not to be seen may go.
constexpr std::size_t read_at_once = 2 * proto::max_output_tail;

std::string read_output(const Subject& subject) {
  if (subject.output.starts_with(journal_prefix))
    return os::read_journal_end(subject.output.substr(journal_prefix.size()), subject.pid, subject.started_ms,
                                read_at_once);
  return os::read_end(subject.output, subject.output_from, read_at_once,
                      subject.output_to.value_or(os::end_of_file));
}

}  // namespace

void OutputTail::ask(const Subject& subject, Reply reply) {
  const auto work = [subject, reply]() -> os::Background::Done {
    return [reply, text = proto::output_end(read_output(subject), proto::max_output_lines,
                                            proto::max_output_tail)] { reply(text); };
  };
  if (!background_.run(work)) reply("");
}

}  // namespace refork::supervisor
