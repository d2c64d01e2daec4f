-- Asks Holdfast about each request, which HAProxy can't do by itself. HAProxy 2.6 or newer, with Lua; no further files.
--
-- `http-request lua.forward-auth` lets a request go on, with the identity in its header, and var(txn.allowed) true; or answers it with what
-- Holdfast answered. If anything here fails, HAProxy would go on, with txn.allowed unset: the configuration must deny that.
-- `http-response lua.new-cookies` passes on the cookies that came with it.

-- Where the configuration listens for these questions.
local address = "abns@holdfast-forward-auth-" .. (os.getenv("PORT") or "8080")
-- In ms. Long enough for two replicas, one after the other.
local timeout = 2000

-- By which the configuration knows these questions: any process of the machine can connect to that address, and none but this has the secret.
local random = assert(io.open("/dev/urandom", "rb"))
local secret = random:read(32):gsub(".", function(byte) return string.format("%02x", byte:byte()) end)
random:close()
core.register_fetches("forward-auth-secret", function() return secret end)

-- What Holdfast judges by; nothing else is sent. All lines of a name are, so that a second one is seen there.
local judged_by = { "cookie", "authorization", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-websocket-version", "accept" }
-- What the application gets; missing counts as empty.
local identity = {
  "x-holdfast-user", "x-holdfast-session", "x-holdfast-roles", "x-holdfast-acr", "x-holdfast-amr",
  "x-holdfast-authenticated-at", "txn-token",
}
-- What is passed on of a refusal.
local passed_on = { "content-type", "location", "www-authenticate", "retry-after", "cache-control", "set-cookie" }

-- HAProxy counts lines from 0.
local function lines(headers, name)
  local found = {}
  for i = 0, #(headers[name] or {}) do
    if headers[name] then found[#found + 1] = headers[name][i] end
  end
  return found
end

local function question(txn)
  local asked = {
    ["x-forward-auth-secret"] = { secret },
    ["x-forwarded-method"] = { txn.sf:method() },
    ["x-forwarded-proto"] = { txn:get_var("txn.proto") },
    ["x-forwarded-host"] = { txn:get_var("txn.host") },
    ["x-forwarded-uri"] = { txn.sf:pathq() },
    ["x-forwarded-for"] = { txn.sf:src() },
  }
  local sent = txn.http:req_get_headers()
  for _, name in ipairs(judged_by) do
    local values = lines(sent, name)
    if #values > 0 then asked[name] = values end
  end
  return asked
end

core.register_action("forward-auth", { "http-req" }, function(txn)
  local answer = core.httpclient():get({
    url = "http://holdfast/forward-auth",
    dst = address,
    headers = question(txn),
    timeout = timeout,
  })
  local headers = answer.headers or {}
  -- Who says yes without saying who it is, if only that it is nobody, is not Holdfast.
  if answer.status == 200 and headers["x-holdfast-user"] then
    for _, name in ipairs(identity) do
      txn.http:req_set_header(name, lines(headers, name)[1] or "")
    end
    -- Where there is no room for a line it is left out, and nothing says so.
    local going_on = txn.http:req_get_headers()
    for _, name in ipairs(identity) do
      if lines(going_on, name)[1] ~= (lines(headers, name)[1] or "") then return end
    end
    txn:set_priv(lines(headers, "set-cookie"))
    txn:set_var("txn.allowed", true)
  elseif answer.status and (answer.status == 302 or (answer.status >= 400 and answer.status < 500)) then
    local reply = txn:reply({ status = answer.status, body = answer.body })
    for _, name in ipairs(passed_on) do
      for _, value in ipairs(lines(headers, name)) do reply:add_header(name, value) end
    end
    txn:done(reply)
  end
end)

core.register_action("new-cookies", { "http-res" }, function(txn)
  local cookies = txn:get_priv() or {}
  -- Where the application begins a session itself, that is the one.
  for _, value in ipairs(lines(txn.http:res_get_headers(), "set-cookie")) do
    if value:find("^__Host%-session[-=~]") then return end
  end
  -- What the application says of caching was not meant for an answer with these.
  if #cookies > 0 then txn.http:res_set_header("cache-control", "no-store") end
  for _, value in ipairs(cookies) do
    txn.http:res_add_header("set-cookie", value)
  end
end)
