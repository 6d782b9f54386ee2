// The event log played again: who was started, got ready, drained and ended, must give what the status shows.
#include "chaos/replay.h"

namespace refork::chaos {

using nlohmann::json;

Models models_of(const json& status) {
  Models models;
  for (const auto& service : status["services"]) {
    Model& model = models[service["name"]];
    model.state = service["state"];
    for (const auto& worker : service["workers"])
      if (worker["id"].is_number())
        model.workers[worker["id"]] = {worker["slot"], worker["pid"], worker["state"]};
  }
  return models;
}

namespace {

void apply(Model& model, const json& event) {
  const std::string type = event["type"], text = event["text"];
  if (type == "service-state" && event["worker"].is_null()) model.state = text;
  if (event["worker"].is_null()) return;
  const std::uint64_t id = event["worker"];
  if (type == "worker-started" || type == "worker-adopted")
    model.workers[id] = {event["slot"], event["pid"].is_null() ? 0 : event["pid"].get<std::int64_t>(),
                         "starting"};
  if (type == "worker-ended") model.workers.erase(id);
  const auto worker = model.workers.find(id);
  if (worker == model.workers.end()) return;
  if (type == "worker-ready" || type == "worker-adopted") worker->second.state = "serving";
  if (type == "worker-draining") worker->second.state = "draining";
  if (type == "worker-killed" || type == "worker-gone") worker->second.state = "killing";
}

}  // namespace

Models replay(Models from, const std::vector<json>& events, std::vector<std::string>& problems) {
  std::uint64_t last = 0;
  for (const auto& event : events) {
    const std::uint64_t number = event["sequence"];
    if (last != 0 && number != last + 1)
      problems.push_back("after event " + std::to_string(last) + " came event " + std::to_string(number));
    last = number;
    if (event["service"].is_string()) apply(from[event["service"]], event);
  }
  return from;
}

std::vector<std::string> differences(const Models& told, const Models& seen) {
  std::vector<std::string> found;
  for (const auto& [name, model] : seen) {
    const auto other = told.find(name);
    if (other == told.end()) {
      found.push_back("no event told of service " + name);
      continue;
    }
    if (other->second.state != model.state)
      found.push_back(name + " is " + model.state + ", by its events it is " + other->second.state);
    for (const auto& [id, worker] : model.workers) {
      const auto by_events = other->second.workers.find(id);
      if (by_events == other->second.workers.end())
        found.push_back("no event told of worker " + std::to_string(id));
      else if (!(by_events->second == worker))
        found.push_back("worker " + std::to_string(id) + " is " + worker.state + " in slot " +
                        std::to_string(worker.slot) + ", by its events " + by_events->second.state +
                        " in slot " + std::to_string(by_events->second.slot));
    }
    for (const auto& [id, worker] : other->second.workers)
      if (!model.workers.contains(id))
        found.push_back("worker " + std::to_string(id) + " is gone, and no event told of its end");
  }
  return found;
}

}  // namespace refork::chaos
