#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/json_reader.h"

namespace refork::config {

// Collects what is wrong with one file.
class ProblemList {
 public:
  explicit ProblemList(std::string file) : file_(std::move(file)) {}

  void add(Position at, std::string path, std::string what);
  bool empty() const { return problems_.empty(); }
  std::vector<Problem> take();  // in the order of the file

 private:
  std::string file_;
  std::vector<Problem> problems_;
};

// "services.web" + "workers"; a key that is no plain word is quoted.
std::string join(const std::string& path, std::string_view key);

// The candidate a person most likely meant; empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace refork::config
