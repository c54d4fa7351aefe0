// The workflows of the bundle.

export { messageWorkflow } from './message.ts'
