// refork.json: reading the file, and the way from its text to the configuration. What is right and wrong
// stands in refork.schema.json (check.cc) and, where it takes more than one value, in build.cc.
#include "config/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "config/build.h"
#include "config/check.h"
#include "config/problems.h"
#include "config/schema.h"

namespace refork::config {
namespace {

Outcome refused(const std::string& file, std::string what) {
  Outcome outcome;
  outcome.problems.push_back({file, 0, 0, "", std::move(what)});
  return outcome;
}

std::string why_not_opened(int code) {
  switch (code) {
    case ENOENT:
      return "there is no such file";
    case EACCES:
      return "no permission to read this file";
    default:
      return std::string("cannot be read: ") + std::strerror(code);
  }
}

base::Result<std::string> read_file(const std::string& file) {
  const base::UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::Error{errno, why_not_opened(errno)};
  struct stat status = {};
  if (::fstat(fd.get(), &status) == 0 && S_ISDIR(status.st_mode))
    return base::Error{EISDIR, "this is a directory; expected a file"};
  std::string text(max_file_size + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::Error{errno, why_not_opened(errno)};
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > max_file_size)
    return base::Error{EFBIG, "expected a file of at most " + std::to_string(max_file_size) + " bytes"};
  text.resize(size);
  return text;
}

}  // namespace

Outcome parse(std::string_view text, const std::string& file) {
  const Document document = read_json(text);
  if (document.error) {
    Outcome outcome;
    outcome.problems.push_back(
        {file, document.error->at.line, document.error->at.column, "", document.error->what});
    return outcome;
  }
  ProblemList problems(file);
  check(document.root, schema(), "", problems);
  Outcome outcome;
  outcome.config = build(document.root, problems);
  outcome.problems = problems.take();
  return outcome;
}

Outcome load(const std::string& file) {
  const base::Result<std::string> text = read_file(file);
  return text ? parse(*text, file) : refused(file, text.error().what);
}

}  // namespace refork::config
