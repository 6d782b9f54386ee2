// Who calls over the system bus: the bus is asked once for each caller, and their requests wait meanwhile.
// Unique names are never used again, so what it says stays true until the caller goes.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "bus/system_bus.h"

namespace refork::bus {

namespace {

constexpr const char* driver = "org.freedesktop.DBus";
constexpr const char* driver_path = "/org/freedesktop/DBus";

int read_groups(sd_bus_message* answer, Peer& peer) {
  const void* groups = nullptr;
  std::size_t size = 0;
  int r = sd_bus_message_enter_container(answer, 'v', "au");
  if (r < 0 || (r = sd_bus_message_read_array(answer, 'u', &groups, &size)) < 0) return r;
  static_assert(sizeof(gid_t) == sizeof(std::uint32_t));
  peer.groups.resize(size / sizeof(gid_t));
  if (size > 0) std::memcpy(peer.groups.data(), groups, size);
  return sd_bus_message_exit_container(answer);
}

// One of a{sv}; `has_user` becomes true where it is who it is.
int read_credential(sd_bus_message* answer, Peer& peer, bool& has_user) {
  const char* key = nullptr;
  int r = sd_bus_message_read(answer, "s", &key);
  if (r < 0) return r;
  const std::string_view name(key);
  if (name == "UnixGroupIDs") return read_groups(answer, peer);
  if (name != "UnixUserID") return sd_bus_message_skip(answer, "v");
  std::uint32_t uid = 0;
  if ((r = sd_bus_message_read(answer, "v", "u", &uid)) >= 0) has_user = true;
  peer.uid = uid;
  return r;
}

// Of GetConnectionCredentials. Groups hold the primary one, too; a bus that does not tell them leaves uid
// alone.
bool read_credentials(sd_bus_message* answer, Peer& peer) {
  bool has_user = false;
  if (sd_bus_message_is_method_error(answer, nullptr) > 0) return false;
  if (sd_bus_message_enter_container(answer, 'a', "{sv}") < 0) return false;
  int r = 0;
  while ((r = sd_bus_message_enter_container(answer, 'e', "sv")) > 0)
    if (read_credential(answer, peer, has_user) < 0 || sd_bus_message_exit_container(answer) < 0)
      return false;
  peer.gid = peer.groups.empty() ? static_cast<gid_t>(-1) : peer.groups.front();
  return r >= 0 && has_user;
}

int refuse(sd_bus_error* error, const char* what) {
  return sd_bus_error_set(error, error_name(EACCES), what);
}

// What sd-bus does with what a method handler leaves behind.
template <class Handler>
void answer_error(sd_bus_message* call, Handler&& handler) noexcept {
  sd_bus_error error{};
  const int r = handler(&error);
  if (sd_bus_error_is_set(&error))
    sd_bus_reply_method_error(call, &error);
  else if (r < 0)
    sd_bus_reply_method_errno(call, r, nullptr);
  sd_bus_error_free(&error);
}

}  // namespace

int SystemBus::ask(sd_bus_message* message, const Request& request, sd_bus_error* error) {
  const char* sender = sd_bus_message_get_sender(message);
  if (!sender) return refuse(error, "a call without a sender");
  Client* client = client_of(sender);
  if (!client)
    return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "too many callers wait for their answers");
  client->used = ++calls_;
  if (client->known) return perform(request, {host_, client->peer, client->waiting}, message, error);
  if (client->held.size() >= limits_.held)
    return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                            "too many requests of this caller wait until it is known who it is");
  client->held.emplace_back(MessagePtr(sd_bus_message_ref(message)), request);
  return 1;
}

SystemBus::Client* SystemBus::client_of(const char* name) {
  if (const auto known = clients_.find(std::string_view(name)); known != clients_.end())
    return known->second.get();
  if (clients_.size() >= limits_.callers && !make_room()) return nullptr;
  auto client = std::make_unique<Client>(Client{*this, name, {}});
  if (inquire(*client) < 0) return nullptr;
  return clients_.emplace(name, std::move(client)).first->second.get();
}

// Forgets who has not called for the longest time; nothing of it may be waiting.
bool SystemBus::make_room() {
  auto oldest = clients_.end();
  for (auto it = clients_.begin(); it != clients_.end(); ++it) {
    const Client& client = *it->second;
    if (!client.known || *client.waiting > 0) continue;
    if (oldest == clients_.end() || client.used < oldest->second->used) oldest = it;
  }
  if (oldest == clients_.end()) return false;
  clients_.erase(oldest);
  return true;
}

// First the wish to hear when it goes, then the question: so it cannot go unnoticed in between.
int SystemBus::inquire(Client& client) {
  sd_bus_slot* slot = nullptr;
  const std::string match = std::string("type='signal',sender='") + driver + "',path='" + driver_path +
                            "',interface='" + driver + "',member='NameOwnerChanged',arg0='" + client.name +
                            "'";
  const auto ignore = [](sd_bus_message*, void*, sd_bus_error*) noexcept { return 0; };
  int r = sd_bus_add_match_async(bus_.get(), &slot, match.c_str(), on_gone, ignore, &client);
  if (r < 0) return r;
  client.gone.reset(slot);
  r = sd_bus_call_method_async(bus_.get(), &slot, driver, driver_path, driver, "GetConnectionCredentials",
                               on_credentials, &client, "s", client.name.c_str());
  if (r >= 0) client.inquiry.reset(slot);
  return r;
}

int SystemBus::on_credentials(sd_bus_message* message, void* userdata, sd_bus_error*) noexcept {
  return guarded(nullptr, [&] {
    auto& client = *static_cast<Client*>(userdata);
    client.self.identified(client, message);
    return 0;
  });
}

void SystemBus::identified(Client& client, sd_bus_message* answer) {
  client.known = read_credentials(answer, client.peer);
  for (const auto& held : std::exchange(client.held, {}))
    answer_error(held.first.get(), [&](sd_bus_error* error) {
      if (!client.known) return refuse(error, "the bus does not say who calls");
      return perform(held.second, {host_, client.peer, client.waiting}, held.first.get(), error);
    });
  if (!client.known) clients_.erase(client.name);
}

int SystemBus::on_gone(sd_bus_message*, void* userdata, sd_bus_error*) noexcept {
  auto& client = *static_cast<Client*>(userdata);
  auto& clients = client.self.clients_;
  if (const auto it = clients.find(client.name); it != clients.end()) clients.erase(it);
  return 0;
}

}  // namespace refork::bus
