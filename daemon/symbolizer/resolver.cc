// Which file a module of a process is now, and what stands in it. A file is believed if it has the build-id
// that the process had in memory.
#include "symbolizer/resolver.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>

namespace refork::symbolizer {
namespace {

std::string build_id_of(const proto::SymbolQuestion& question, const std::string& module) {
  for (const auto& [path, id] : question.build_ids)
    if (path == module) return id;
  return "";
}

// A descriptor of a file that may be gone from its directory: its own path, and what it was called.
std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

std::string name_of(int fd) {
  char buffer[PATH_MAX];
  const auto length = ::readlink(path_of(fd).c_str(), buffer, sizeof buffer);
  std::string name(buffer, length > 0 ? static_cast<std::size_t>(length) : 0);
  constexpr std::string_view deleted = " (deleted)";
  if (name.ends_with(deleted)) name.resize(name.size() - deleted.size());
  return name;
}

// Where the module may be, the surest first.
std::vector<std::string> candidates(const proto::SymbolQuestion& question, const std::string& module,
                                    const std::string& build_id, int executable,
                                    const std::string& debug_root) {
  std::vector<std::string> files;
  // Without a build-id only its name tells that it is the one.
  if (executable >= 0 && (!build_id.empty() || name_of(executable) == module))
    files.push_back(path_of(executable));
  if (module.starts_with('/')) {
    if (question.pid > 0) files.push_back("/proc/" + std::to_string(question.pid) + "/root" + module);
    files.push_back(module);
  }
  if (!build_id.empty()) files.push_back(debug_path(debug_root, build_id));
  return files;
}

}  // namespace

Module* Resolver::load(const std::string& file, const std::string& path) {
  auto fd = open_regular(file);
  if (!fd) return nullptr;
  const auto key = key_of(fd.get());
  if (!key) return nullptr;
  const auto known = std::ranges::find(files_, *key, &File::key);
  if (known != files_.end()) {
    files_.splice(files_.begin(), files_, known);
  } else {
    auto module = Module::load(std::move(fd), path, debug_root_);
    files_.push_front({*key, std::move(module)});
    if (files_.size() > max_files) files_.pop_back();
  }
  return files_.front().module.get();
}

Module* Resolver::module_for(const proto::SymbolQuestion& question, const std::string& path, int executable) {
  const std::string build_id = build_id_of(question, path);
  for (const auto& file : candidates(question, path, build_id, executable, debug_root_)) {
    Module* module = load(file, path);
    if (module && (build_id.empty() || module->build_id() == build_id)) return module;
  }
  return nullptr;
}

proto::SymbolAnswer Resolver::answer(const proto::SymbolQuestion& question, int executable) {
  proto::SymbolAnswer answer;
  answer.id = question.id;
  answer.frames.resize(question.frames.size());
  std::map<std::string, std::vector<std::size_t>> by_module;
  for (std::size_t i = 0; i < question.frames.size(); ++i) by_module[question.frames[i].module].push_back(i);
  // Module by module: one that is in use is never the one that is forgotten.
  for (const auto& [path, frames] : by_module) {
    if (path.empty()) continue;
    Module* module = module_for(question, path, executable);
    if (!module) continue;
    for (const auto i : frames) answer.frames[i] = module->symbols_at(question.frames[i].offset);
  }
  return answer;
}

}  // namespace refork::symbolizer
