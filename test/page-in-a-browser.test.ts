import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { type Browser, chromium } from 'playwright-core'
import { startPeer } from '../smtp/testing.ts'
import { readActions } from '../store/actions.ts'
import { prepareEverpost } from './support/everpost.ts'
import { needs } from './support/packages.ts'
import { until } from './support/until.ts'

test('in a browser an operator logs in, finds a message, holds it, has it tried again, and logs out; the browser refuses nothing', { skip: needs('chromium') }, async () => {
  const script: { rcpt: Record<string, string> } = { rcpt: { '*': '451 4.7.1 <b>later</b>' } }
  const peer = await startPeer(script)
  const hop = `[127.0.0.1]:${peer.port}`
  const everpost = await prepareEverpost({ retry: { minimalBackoffTime: '1h' }, routes: [{ domain: 'partner.test', nextHop: hop }] })
  let browser: Browser | null = null
  try {
    browser = await chromium.launch({ executablePath: execFileSync('/bin/sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim(), args: ['--no-sandbox'] })
    await everpost.start()
    const token = (await everpost.command('token', 'create', 'me', '--scope', 'read', 'control')).stdout.trim()
    const id = await everpost.send(['x@partner.test'], 'a@example.test')
    const other = await everpost.send(['y@partner.test'], 'b@example.test')
    for (const each of [id, other]) await until('deferred', async () => (await everpost.sql`select from recipients where message_id = ${each} and outcome is not null`).length > 0)

    const page = await browser.newPage({ baseURL: `http://127.0.0.1:${everpost.ports['http']}`, viewport: { width: 1280, height: 800 } })
    page.setDefaultTimeout(20_000)
    // What its policy keeps a browser from doing, the browser says there.
    const complaints: string[] = []
    page.on('console', (said) => ['error', 'warning'].includes(said.type()) && complaints.push(said.text()))
    page.on('pageerror', (error) => complaints.push(String(error)))
    const show = async (name: string) => process.env['EVERPOST_SCREENSHOTS'] && (await page.screenshot({ path: `${process.env['EVERPOST_SCREENSHOTS']}/${name}.png`, fullPage: true }))
    const heading = () => page.getByRole('heading', { level: 1 }).innerText()

    await page.goto('/')
    await show('login')
    assert.equal(await heading(), 'Log in')
    await page.locator('input:focus').waitFor()
    await page.keyboard.type(token)
    await page.keyboard.press('Enter')
    await page.waitForURL('/')
    await show('queue')
    assert.equal(await page.getByRole('row').count(), 3)
    assert.equal(await page.locator('td b').count(), 0)

    await page.getByRole('textbox', { name: 'Sender' }).fill('a@*')
    await page.getByRole('combobox', { name: 'Status' }).selectOption('deferred')
    await page.getByRole('button', { name: 'Show' }).click()
    await page.getByRole('link', { name: other }).waitFor({ state: 'detached' })
    await page.getByRole('link', { name: id }).click()
    await page.waitForURL(`/messages/${id}`)
    assert.equal(await heading(), id)
    await page.getByRole('textbox', { name: 'Why' }).fill('what is it?')
    await page.getByRole('button', { name: 'hold', exact: true }).click()
    assert.equal(await page.getByRole('status').innerText(), 'Done: hold')
    await show('message')
    assert.deepEqual((await readActions(everpost.sql, id)).map(({ action, who, why }) => [action, who, why]), [['hold', 'token:me', 'what is it?']])

    for (const name of ['hold', 'retry']) assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0)
    await page.getByRole('button', { name: 'release', exact: true }).click()
    await page.getByText('Done: release').waitFor()
    const ended = () => everpost.sql`select from attempts where message_id = ${id} and ended_at is not null`
    await until('it was tried again', async () => (await ended()).length === 2)
    script.rcpt = {}
    await page.reload()
    await page.getByRole('button', { name: 'retry', exact: true }).click()
    assert.deepEqual(await everpost.states(id), ['delivered'])
    await page.reload()
    await page.getByRole('cell', { name: 'delivered', exact: true }).waitFor()
    assert.match(await page.getByRole('list').innerText(), /x@partner\.test: deferred 4\.7\.1 451 4\.7\.1 <b>later<\/b>/)
    await show('delivered')

    await page.getByRole('link', { name: 'Destinations' }).click()
    const row = page.getByRole('row', { name: hop })
    await row.getByRole('button', { name: 'suspend for an hour' }).click()
    await row.getByText('suspended until').waitFor()
    await show('destinations')
    await row.getByRole('button', { name: 'resume' }).click()
    await row.getByText('suspended until').waitFor({ state: 'detached' })

    await page.setViewportSize({ width: 390, height: 800 })
    await page.goto('/')
    await show('narrow')
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.waitForURL('/login')
    await page.goto(`/messages/${id}`)
    assert.equal(await heading(), 'Log in')
    assert.deepEqual(complaints, [])
  } finally {
    await browser?.close().catch(() => {})
    await everpost.end()
    await peer.close()
  }
})
