-- Requests for wrk: the call, the Authorization header and a file with one token or id per line are its arguments.
local call, authorization, file
local lines, next = {}, 0
local failed = 0

function init(args)
  call, authorization, file = args[1], args[2], args[3]
  for line in io.lines(file) do lines[#lines + 1] = line end
end

function request()
  next = next + 1
  local line = lines[(next - 1) % #lines + 1]
  local headers = { ['Authorization'] = authorization, ['Content-Type'] = 'application/json' }
  if call == 'verify' then
    return wrk.format('POST', '/v1/sessions/verify', headers, '{"token":"' .. line .. '"}')
  elseif call == 'start' then
    local body = '{"userId":"user-' .. next .. '","roles":["shopper"],"amr":["pwd"],"device":{"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36","address":"192.0.2.1"}}'
    return wrk.format('POST', '/v1/sessions', headers, body)
  else
    return wrk.format('DELETE', '/v1/sessions/' .. line, { ['Authorization'] = authorization })
  end
end
